package gallerytest

import (
	"strings"
	"testing"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/builder/component"
	"github.com/seed-6db18919/ingot/builder/local"
	"github.com/seed-6db18919/ingot/builder/local/disk/disktest"
)

// server builds an image with an SSH server, a web server and a time service.
func server(t *testing.T, d *local.Driver) builder.Image {
	t.Helper()
	disk := disktest.Debian12(t)
	i := launch(t, d, disk, "server", 0)
	m := &machine{t: t, on: i}
	m.passes("install-package-from-repository", parameters{"PackageName": "openssh-server"})
	m.passes("nginx", nil)
	m.passes("chrony", parameters{"TimeServers": "169.254.169.123 time.example.com"})
	inventory, err := i.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	img, err := i.Snapshot(t.Context(), "server", inventory)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestTestsInAGuest runs the test components in one machine: on the image as it
// should be, and on what is wrong with others.
func TestTestsInAGuest(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	t.Parallel()
	d := newDriver(t, disktest.Debian12(t))
	img := server(t, d)
	for range 3 {
		m := &machine{t: t, on: boot(t, d, img), tests: true}
		testsInAGuest(m)
		if m.hung == nil {
			return
		}
		t.Logf("another machine: %v", m.hung)
	}
	t.Fatal("three machines hung")
}

func boot(t *testing.T, d *local.Driver, img builder.Image) builder.Guest {
	t.Helper()
	g, err := d.Boot(t.Context(), builder.BootSpec{Build: "test", Image: img, Disks: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	giveBack(t, g.Close)
	return g
}

func testsInAGuest(m *machine) {
	m.passes("hello-world-linux", nil, "Hello from the test phase")
	m.passes("simple-boot-test-linux", nil)
	m.passes("no-build-credentials-left-test", nil)
	m.passes("validate-ssh-host-key-generation-linux", nil, "(ED25519)")
	m.passes("service-running-test", parameters{"ServiceName": "nginx chrony ssh"}, "nginx: active, enabled")
	m.passes("chrony-time-configuration-test", nil, "169.254.169.123, time.example.com")
	m.passes("chrony-time-configuration-test", parameters{"TimeSource": "time.example.com"})
	m.passes("listening-ports-test", parameters{"AllowedPorts": "22,80 5355 udp/5355 udp/68 udp/546"}, "tcp/80 is open, as declared.")
	// The test machine of the local driver reaches no network.
	m.passes("apt-repository-test-linux", nil, "reaches none of its repositories")
	m.passes("ebs-volume-usage-test-linux", nil, "/dev/vdb is detached.", "/dev/vdb holds what was written.")
	m.passes("ebs-volume-usage-test-linux", parameters{"VolumeDevice": "/dev/vdb"})

	m.fails("listening-ports-test", nil, "tcp/80 is open and was not declared.")
	m.fails("chrony-time-configuration-test", parameters{"TimeSource": "192.0.2.1"}, "192.0.2.1 is no source of chrony")
	m.fails("apt-repository-test-linux", parameters{"RepositoryAccess": "required"}, "E: ")
	m.fails("yum-repository-test-linux", nil, "use apt-repository-test-linux")
	volumes(m)
	services(m)
	publicKeys(m)
	hostKeys(m)
	credentials(m)
	m.bash("systemctl reset-failed")
	m.passes("reboot-test-linux", nil, "Restarted")
}

func volumes(m *machine) {
	const name = "ebs-volume-usage-test-linux"
	m.fails(name, parameters{"VolumeDevice": "/dev/vdz"}, "/dev/vdz is no disk of this machine")
	m.fails(name, parameters{"VolumeDevice": "/dev/vda"}, "/dev/vda is in use")
	m.bash("mkfs.ext4 -q /dev/vdb")
	m.fails(name, nil, "infrastructure: {testDisks: [1]}")
}

func services(m *machine) {
	m.bash("systemctl disable nginx; systemctl stop chrony; systemd-run --quiet --unit=broken false || true")
	m.fails("service-running-test", parameters{"ServiceName": "nginx chrony"}, "nginx runs, but is not started at boot.", "chrony: inactive")
	m.fails("simple-boot-test-linux", nil, "broken.service")
	m.fails("chrony-time-configuration-test", nil, "chrony does not run.")
}

func publicKeys(m *machine) {
	const name = "validate-single-ssh-public-key-test-linux"
	m.fails(name, nil, "0 SSH public keys are authorised")
	m.bash(`mkdir -p -m 700 /root/.ssh; cd /root
for key in one two; do ssh-keygen -q -t ed25519 -N '' -f $key; done
cat one.pub > .ssh/authorized_keys
useradd --create-home admin; mkdir ~admin/.ssh
echo "# the same key" > ~admin/.ssh/authorized_keys; cat one.pub >> ~admin/.ssh/authorized_keys`)
	m.passes(name, nil)
	m.fails(name, parameters{"AccountName": "admin"}, "root has an authorised key, and only admin should")
	m.bash(`sed -i 's/^/no-pty,command="echo log in as admin" /' /root/.ssh/authorized_keys`)
	m.passes(name, parameters{"AccountName": "admin"})
	m.bash("cat /root/two.pub >> ~admin/.ssh/authorized_keys")
	m.fails(name, nil, "2 SSH public keys are authorised")
	m.bash("echo nonsense > ~admin/.ssh/authorized_keys")
	m.fails(name, nil, "holds what is no key")
}

func hostKeys(m *machine) {
	const name = "validate-ssh-host-key-generation-linux"
	m.bash("touch -d 2020-01-01 /etc/ssh/ssh_host_ed25519_key; chmod 644 /etc/ssh/ssh_host_rsa_key; echo x > /etc/ssh/ssh_host_ecdsa_key")
	m.fails(name, nil, "ssh_host_ed25519_key was made before this boot", "ssh_host_rsa_key can be read by others", "ssh_host_ecdsa_key is no key")
	m.bash("mkdir /root/keys; mv /etc/ssh/ssh_host_* /root/keys")
	m.fails(name, nil, "There is no host key")
	m.bash("mv /root/keys/* /etc/ssh")
}

// credentials leaves everything behind that a build can, and expects every step to
// say so.
func credentials(m *machine) {
	m.bash(`touch -d 2020-01-01 /root/.ssh/authorized_keys
cp /root/two ~admin/.ssh/work
mkdir -p /root/.aws /root/.docker; echo x > /root/.aws/credentials; echo x > /root/.netrc; echo '{"auths":{"x":{"auth":"x"}}}' > /root/.docker/config.json
echo ls > ~admin/.bash_history
mkdir -p /var/lib/cloud/instances/i-1; touch -d 2020-01-01 /var/lib/cloud/instances/i-1
cp /etc/machine-id /root; umount /etc/machine-id || true; cp /root/machine-id /etc; touch -d 2020-01-01 /etc/machine-id
echo admin:secret | chpasswd; useradd open; passwd -d open; echo root:secret | chpasswd
touch /usr/bin/awstoe; mkdir -p /var/lib/amazon/toe/TOE_2020; touch -d 2020-01-01 /var/lib/amazon/toe/TOE_2020`)
	result, printed := m.fails("no-build-credentials-left-test", parameters{"AccountsWithPassword": "root"},
		"/etc/ssh/ssh_host_ed25519_key is older than this boot.",
		"/root/.ssh/authorized_keys is older than this boot.", "/home/admin/.ssh/work is a private key.",
		"/root/.aws/credentials holds credentials.", "/root/.netrc holds credentials.", "/root/.docker/config.json holds credentials.",
		"/home/admin/.bash_history is left.",
		"/var/lib/cloud/instances/i-1 belongs to another machine.",
		"/etc/machine-id is older than this boot",
		"admin has a password.", "open can log in without a password.",
		"/usr/bin/awstoe is an agent of the build.", "/var/lib/amazon/toe/TOE_2020 was left by an agent",
	)
	for _, document := range result.Documents {
		for _, step := range document.Steps {
			if step.Status != component.Failed {
				m.t.Errorf("step %s: %s", step.Name, step.Status)
			}
		}
	}
	if strings.Contains(printed, "root has a password") {
		m.t.Error("an account that may have a password is reported")
	}
}
