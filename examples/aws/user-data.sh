#!/bin/sh
# User data of an EC2 instance (Debian 12) that runs the daemon. Its instance profile
# has the daemon's role with the policy SetupPolicy of cloudformation.yaml, which lets it
# read the archive, the configuration and the parameters below. The archive has what
# `make build` makes, the folder scripts, and examples/deploy/ingot.service:
#
#   make build && tar czf ingot.tar.gz -C bin . -C .. scripts examples/deploy/ingot.service
#   aws s3 cp ingot.tar.gz s3://acme-setup/ && aws s3 cp examples/aws/ingot.yaml s3://acme-setup/
set -eu
region=eu-west-1
setup=s3://acme-setup

apt-get update
apt-get install -y awscli
mkdir -p /opt/ingot
aws s3 cp --region "$region" "$setup/ingot.tar.gz" - | tar xz -C /opt/ingot
install -m 0755 /opt/ingot/ingot /opt/ingot/ingot-agent /opt/ingot/ingot-agent-aws /opt/ingot/ingot-agent.exe /usr/local/bin/
/opt/ingot/scripts/install-packages.sh host

install -d -m 0700 /etc/ingot
aws s3 cp --region "$region" "$setup/ingot.yaml" /etc/ingot/ingot.yaml
umask 077
for name in INGOT_GITHUB_TOKEN INGOT_DATABASE; do
	value=$(aws ssm get-parameter --region "$region" --with-decryption --name "/ingot/$name" --query Parameter.Value --output text)
	printf '%s=%s\n' "$name" "$value"
done > /etc/ingot/environment

install -m 0644 /opt/ingot/examples/deploy/ingot.service /etc/systemd/system/
systemctl daemon-reload
systemctl enable --now ingot
