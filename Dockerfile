# The daemon with everything that its local driver runs.
#
#	docker build -t ingot .
#	docker run --privileged -v /dev:/dev -v ingot:/var/lib/ingot \
#		-v ./ingot.yaml:/etc/ingot/ingot.yaml:ro -p 8080:8080 ingot
#
# In the configuration: dataDir: /var/lib/ingot, server.listen: 0.0.0.0:8080.
#
# Local builds mount disks and start containers and machines, which Docker's defaults
# forbid. --privileged stands for what they need:
#
#	/dev/fuse                        a storage daemon shows a qcow2 layer as a file
#	/dev/loop-control, /dev/loop*    the file becomes a block device; -v /dev:/dev,
#	                                 because nodes that appear later are not seen otherwise
#	/dev/kvm                         only where guests really run on it
#	CAP_SYS_ADMIN                    mount, and the namespaces of systemd-nspawn
#	CAP_MKNOD, CAP_SYS_CHROOT,       mmdebstrap and systemd-nspawn: root file systems
#	CAP_SETFCAP, CAP_DAC_*,          with the owners, modes and capabilities that
#	CAP_CHOWN, CAP_FOWNER, CAP_FSETID they have in the image
#	no seccomp and AppArmor profile  Docker's refuse mount and pivot_root
#	a writable /sys/fs/cgroup        systemd-nspawn makes a group per container; where control
#	                                 groups are of version 1: --cgroupns=private as well
#
# Whoever may start builds has root on the host then: it is a machine for nothing else.
#
# Both images can be replaced, by mirrors or by images of your own.
ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/ingot ./cmd/ingot \
 && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/ ./cmd/ingot-agent ./cmd/ingot-agent-aws \
 && GOOS=windows GOARCH=amd64 CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/ingot-agent.exe ./cmd/ingot-agent

FROM ${BASE_IMAGE}
COPY scripts/install-packages.sh /tmp/
RUN /tmp/install-packages.sh host \
 && rm -rf /tmp/install-packages.sh /var/lib/apt/lists/* /var/cache/apt/*.bin
COPY --from=build /out/ingot /out/ingot-agent /out/ingot-agent-aws /out/ingot-agent.exe /usr/local/bin/

# Layers, images and, with SQLite, the ledger. It needs a file system with holes in
# files and flock; not the container's own overlay, which is slow for disks.
VOLUME /var/lib/ingot
EXPOSE 8080

# The first SIGTERM lets reports go out and hands running builds back, a second one
# ends at once: give `docker stop` time for the first (-t 120).
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/ingot"]
CMD ["daemon", "-c", "/etc/ingot/ingot.yaml"]
