# Makes in /srv/fixtures, on Debian, what a vendor would offer: a signing key, an apt
# and an rpm repository, packages, archives. Everything in it does nothing.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q -y --no-install-recommends install gpg gpg-agent apt-utils rpm createrepo-c dnf zypper zip
# Debian's rpm keeps its database at home; where rpm is at home it is here.
mkdir -p /etc/rpm
echo '%_dbpath /var/lib/rpm' > /etc/rpm/macros
mkdir -p /srv/fixtures/apt /srv/fixtures/yum /srv/fixtures/vendor /srv/fixtures/other
cd /srv/fixtures

export GNUPGHOME=/root/fixture-keys
mkdir -m 700 "$GNUPGHOME"
for who in vendor other; do
	gpg --batch --quiet --passphrase '' --quick-generate-key "$who <$who@example.com>" rsa2048 sign never
	gpg --batch --armor --export "$who@example.com" > "$who.asc"
	gpg --with-colons --list-keys "$who@example.com" | sed -n 's/^fpr:*\([0-9A-F]*\):$/\1/p' > "$who.fingerprint"
done
# Short enough to be written into a recipe.
gpg --batch --quiet --passphrase '' --quick-generate-key 'short <short@example.com>' ed25519 sign never
gpg --batch --armor --export short@example.com > short.asc
# As vendors do: more keys in one file than the one that signs.
cat other.asc vendor.asc > both.asc

# deb NAME VERSION makes a package of the folder ./root.
deb() {
	mkdir -p root/DEBIAN
	printf '%s\n' "Package: $1" "Version: $2" 'Architecture: all' 'Maintainer: vendor <vendor@example.com>' \
		"Depends: ${3:-base-files}" 'Description: fixture' > root/DEBIAN/control
	dpkg-deb --root-owner-group -Zgzip --build root "apt/$1_$2_all.deb" > /dev/null
	rm -r root
}
# program PATH TEXT makes a program that prints a text.
program() {
	mkdir -p "root/${1%/*}"
	printf '#!/bin/sh\necho "%s"\n' "$2" > "root/$1"
	chmod 755 "root/$1"
}
# agent NAME PROGRAM makes a service of a program.
agent() {
	program "$2" 'agent'
	mkdir -p root/usr/lib/systemd/system
	printf '%s\n' '[Service]' "ExecStart=/$2" '[Install]' 'WantedBy=multi-user.target' > "root/usr/lib/systemd/system/$1.service"
}
cloudwatch_agent() { agent amazon-cloudwatch-agent opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent; }
ssm_agent() { agent amazon-ssm-agent usr/bin/amazon-ssm-agent; }
java() {
	program usr/bin/java 'openjdk version "17.0.1"'
	program usr/bin/javac 'javac 17.0.1'
}

program usr/bin/fixture-hello 'hello'
deb fixture-hello 1.0
java
deb java-17-amazon-corretto-jdk 17.0.1
cloudwatch_agent
deb amazon-cloudwatch-agent 1.0
mv apt/amazon-cloudwatch-agent_1.0_all.deb vendor/amazon-cloudwatch-agent.deb
ssm_agent
deb amazon-ssm-agent 1.0
mv apt/amazon-ssm-agent_1.0_all.deb vendor/amazon-ssm-agent.deb
# A package that asks a question and writes the answer down.
mkdir -p root/DEBIAN
printf '%s\n' 'Template: fixture-question/colour' 'Type: string' 'Default: none' 'Description: Which colour?' > root/DEBIAN/templates
printf '%s\n' '#!/bin/sh' '. /usr/share/debconf/confmodule' 'db_input high fixture-question/colour || true' 'db_go' > root/DEBIAN/config
printf '%s\n' '#!/bin/sh' '. /usr/share/debconf/confmodule' 'db_get fixture-question/colour' 'echo "$RET" > /etc/fixture-colour' > root/DEBIAN/postinst
chmod 755 root/DEBIAN/config root/DEBIAN/postinst
deb fixture-question 1.0 debconf

# The same packages once as a flat repository and once with suites.
cp -r apt flat
(cd flat && apt-ftparchive packages . > Packages && apt-ftparchive release . > ../Release && mv ../Release .)
gpg --batch --quiet --local-user short@example.com --clearsign --output flat/InRelease flat/Release
mkdir -p apt/dists/stable/main/binary-amd64
(cd apt && apt-ftparchive packages . > dists/stable/main/binary-amd64/Packages)
apt-ftparchive -o APT::FTPArchive::Release::Suite=stable -o APT::FTPArchive::Release::Architectures=amd64 \
	-o APT::FTPArchive::Release::Components=main release apt/dists/stable > Release
mv Release apt/dists/stable/Release
gpg --batch --quiet --local-user vendor@example.com --clearsign --output apt/dists/stable/InRelease apt/dists/stable/Release

# rpm NAME VERSION makes a package of the folder ./root.
build_rpm() {
	printf '%s\n' "Name: $1" "Version: $2" 'Release: 1' 'Summary: fixture' 'License: none' 'BuildArch: noarch' \
		'AutoReqProv: no' '%description' 'fixture' '%files' '/*' > package.spec
	# Not usr itself: a folder of the system belongs to the system.
	(cd root && find . -type f -printf '/%P\n') > files
	sed -i '/^\/\*$/{r files
	d}' package.spec
	rpmbuild --quiet -bb --buildroot "$PWD/root" --define "_rpmdir $PWD/${3:-yum}" --define '_build_name_fmt %%{NAME}-%%{VERSION}.rpm' \
		--define '__spec_install_pre %{nil}' --define '_gpg_name vendor@example.com' --noclean package.spec
	rpmsign --addsign --define '_gpg_name vendor@example.com' --define '__gpg /usr/bin/gpg' "${3:-yum}/$1-$2.rpm" > /dev/null
	rm -r root package.spec files
}
program usr/bin/fixture-stays 'stays'
build_rpm fixture-stays 1.0
program usr/bin/fixture-hello 'hello'
build_rpm fixture-hello 1.0
program usr/bin/fixture-goodbye 'goodbye'
build_rpm fixture-goodbye 1.0
java
build_rpm java-17-amazon-corretto-devel 17.0.1
cloudwatch_agent
build_rpm amazon-cloudwatch-agent 1.0 vendor
mv vendor/amazon-cloudwatch-agent-1.0.rpm vendor/amazon-cloudwatch-agent.rpm
ssm_agent
build_rpm amazon-ssm-agent 1.0 vendor
mv vendor/amazon-ssm-agent-1.0.rpm vendor/amazon-ssm-agent.rpm
createrepo_c --quiet yum
cp -r yum yum-newer
program usr/bin/fixture-hello 'newer hello'
build_rpm fixture-hello 2.0 yum-newer
program usr/bin/fixture-goodbye 'newer goodbye'
build_rpm fixture-goodbye 2.0 yum-newer
createrepo_c --quiet yum-newer

for agent in amazon-cloudwatch-agent amazon-ssm-agent; do
	for package in deb rpm; do
		gpg --batch --quiet --local-user vendor@example.com --detach-sign --output "vendor/$agent.$package.sig" "vendor/$agent.$package"
	done
	cp "vendor/$agent.deb" other/
	gpg --batch --quiet --local-user other@example.com --detach-sign --output "other/$agent.deb.sig" "other/$agent.deb"
done

# Archives that unpack to what the real ones have in the same places.
mkdir -p go/bin aws
for name in go gofmt; do printf '#!/bin/sh\necho "go version go9.8.7 linux/amd64"\n' > "go/bin/$name"; chmod 755 "go/bin/$name"; done
for architecture in amd64 arm64; do tar -czf "vendor/go9.8.7.linux-$architecture.tar.gz" go; done
printf '%s\n' '#!/bin/sh' 'printf "#!/bin/sh\necho aws-cli/2.99.0\n" > /usr/local/bin/aws' 'chmod 755 /usr/local/bin/aws' > aws/install
chmod 755 aws/install
zip -q -r vendor/awscli.zip aws
rm -r go aws

gpgconf --kill gpg-agent
rm -r "$GNUPGHOME"
