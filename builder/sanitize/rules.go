package sanitize

import "path"

// sections lists what is cleaned up. The names of the skip files and the first
// paths of each section are those of EC2 Image Builder, so that its components
// keep their meaning; what that service leaves and people expect to be gone
// follows them.
func sections(working string, opts Options) []section {
	always := []rule{
		{path: "var/log/sa/sa*"},
		{path: "var/lib/dhclient/dhclient*.lease"},
		{path: "var/lib/dhcp/*.leases"},
		{path: "var/lib/NetworkManager/*.lease"},
		{path: "var/lib/systemd/random-seed"},
		{path: "var/lib/systemd/credential.secret", how: shred},
		{path: "var/lib/rsyslog/imjournal.state"},
		{path: "var/log/journal", how: content},
		{path: "var/cache/apt/archives/*.deb"},
		{path: "var/cache/apt/archives/partial", how: content},
		{path: "var/cache/apt/*.bin"},
		{path: "var/tmp", how: content},
		{path: "tmp", how: content},
	}
	if !opts.KeepPackageLists {
		always = append(always, rule{path: "var/lib/apt/lists", how: content})
	}
	for _, name := range opts.Extra {
		if name = path.Join("/", name)[1:]; name != "" {
			always = append(always, rule{path: name})
		}
	}
	return []section{
		{skip: "skip_cleanup_cloudinit_files", rules: cloudInit},
		{skip: "skip_cleanup_instance_files", rules: instance},
		{skip: "skip_cleanup_ssh_files", rules: ssh},
		{skip: "skip_cleanup_instance_log_files", rules: instanceLogs},
		{skip: "skip_cleanup_toe_files", rules: []rule{{path: working + "/TOE_*"}}},
		{skip: "skip_cleanup_ssm_log_files", rules: []rule{{path: "var/log/amazon/ssm"}}},
		{rules: histories()},
		{rules: always},
		// The last, because the sections ask for them.
		{rules: []rule{{path: working + "/skip_cleanup_*"}, {path: working + "/perform_cleanup"}}},
	}
}

var cloudInit = []rule{
	{path: "etc/sudoers.d/90-cloud-init-users"},
	// Other systems keep here what an author chose; only cloud-init makes it anew.
	{path: "etc/locale.conf", when: "var/lib/cloud"},
	{path: "var/log/cloud-init.log"},
	{path: "var/log/cloud-init-output.log"},
	{path: "var/lib/cloud/*", how: shred}, // user data often holds secrets
}

// The stamps /etc/.updated and /var/.updated, which EC2 Image Builder removes, stay:
// they identify nothing, and without them systemd repeats the packages' work at
// the first boot.
var instance = []rule{
	{path: "etc/aliases.db"},
	{path: "etc/hostname"},
	{path: "var/lib/misc/postfix.aliasesdb-stamp"},
	{path: "var/lib/postfix/master.lock"},
	{path: "var/spool/postfix/pid/master.pid"},
	{path: "var/cache/yum/x86_64/2/.gpgkeyschecked.yum"},
}

var ssh = []rule{
	{path: "etc/ssh/ssh_host_*_key", how: shred},
	{path: "etc/ssh/ssh_host_*_key.pub"},
	{path: "etc/ssh/ssh_host_*_key-cert.pub"},
	{path: "root/.ssh/authorized_keys", how: shred},
	{path: "home/*/.ssh/authorized_keys", how: shred},
}

var instanceLogs = []rule{
	{path: "var/log/audit/audit.log*"},
	{path: "var/log/boot.log*"},
	{path: "var/log/dmesg*"},
	{path: "var/log/cron*"},
	{path: "var/log", how: logs},
}

// histories are what interactive programs remember of what was typed.
func histories() []rule {
	var rules []rule
	for _, home := range []string{"root", "home/*"} {
		for _, name := range []string{".*_history", ".*history", ".lesshst", ".viminfo", ".wget-hsts", ".sudo_as_admin_successful"} {
			rules = append(rules, rule{path: home + "/" + name, how: shred})
		}
	}
	return rules
}
