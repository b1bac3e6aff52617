#!/usr/bin/env bash
# build.sh COMPONENT...: build what the cache lacks, and print the seconds of each. Called by build.py, which knows the order.
# One wrapper module (wrapper/go.mod) for all but kuberay and coredns: the same client-go everywhere, compiled once.
. "$(dirname "$0")/env.sh"
export GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
WRAPPER=$HERE/wrapper JOBS=${BUILD_JOBS:-2}
STRIP="-s -w" VERSION=k8s.io/component-base/version
RELEASE="$STRIP -X $VERSION.gitVersion=v$KUBERNETES -X $VERSION.gitMajor=1 -X $VERSION.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES")"

go_build() {                                  # go_build LDFLAGS OUTPUT PACKAGE...
  local ldflags=$1 output=$2; shift 2
  go build -C "$WRAPPER" -mod=readonly -p "$JOBS" -ldflags "$ldflags" -o "$output" "$@"
}
source_of() {                                 # the source folder of a module of the wrapper
  go mod download -C "$WRAPPER" "$1" >/dev/null
  go list -C "$WRAPPER" -m -f '{{.Dir}}' "$1"
}
render() {                                    # render KUSTOMIZE-FOLDER OUTPUT [WEBHOOK-PORT [CRD-PATTERN]]
  kubectl kustomize "$1" | "$PY" "$HERE/operator_manifest.py" "${@:3}" >"$2/manifest.json"
}

control-plane() { go_build "$RELEASE" "$1/" k8s.io/kubernetes/cmd/kube-{apiserver,controller-manager,scheduler}; }
kubectl_() { go_build "$RELEASE" "$1/" k8s.io/kubernetes/cmd/kubectl; }
kubelet() { go_build "$RELEASE" "$1/" k8s.io/kubernetes/cmd/kubelet; }
kube-proxy() { go_build "$RELEASE" "$1/" k8s.io/kubernetes/cmd/kube-proxy; }
etcd() { go_build "$STRIP" "$1/etcd" go.etcd.io/etcd/server/v3; }
kwok() {
  local stages stage
  go_build "$STRIP" "$1/" sigs.k8s.io/kwok/cmd/kwok
  stages=$(source_of sigs.k8s.io/kwok)/kustomize/stage
  for stage in node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease pod/fast/pod-{ready,complete,delete}; do
    echo ---; cat "$stages/$stage.yaml"
  done >"$1/stages.yaml"
}
training() {
  go_build "$STRIP" "$1/" github.com/kubeflow/training-operator/cmd/training-operator.v1
  render "$(source_of github.com/kubeflow/training-operator)/manifests/overlays/standalone" "$1" 9443 pytorchjobs
}
jobset() {
  go_build "$STRIP" "$1/" sigs.k8s.io/jobset
  render "$(source_of sigs.k8s.io/jobset)/config/default" "$1" 9543
}
trainer() {
  local copy; copy=$(mktemp -d)
  go_build "$STRIP" "$1/" github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager
  cp -r "$(source_of github.com/kubeflow/trainer/v2)/manifests" "$copy"; chmod -R u+w "$copy"
  # A remote address; jobset is a component of its own here.
  sed -i '/third-party\/jobset/d' "$copy/manifests/overlays/manager/kustomization.yaml"
  render "$copy/manifests/overlays/manager" "$1" 9643
  cp "$copy/manifests/base/runtimes/torch_distributed.yaml" "$1/runtimes.yaml"
  rm -rf "$copy"
}
from_its_own_source() {                       # OUTPUT PROGRAM MODULE@VERSION: built with the module's own dependencies
  local copy; copy=$(mktemp -d)
  (cd "$copy"; go mod init x; go mod download "$3") >/dev/null 2>&1
  cp -r "$(go env GOMODCACHE)/$3" "$copy/src"; chmod -R u+w "$copy/src"
  go build -C "$copy/src" -p "$JOBS" -ldflags "$STRIP" -o "$1/$2" .
  [ ! -d "$copy/src/config/crd" ] || render "$copy/src/config/crd" "$1"
  rm -rf "$copy"
}
kuberay() { from_its_own_source "$1" ray-operator "github.com/ray-project/kuberay/ray-operator@v$KUBERAY"; }
coredns() { from_its_own_source "$1" coredns "github.com/coredns/coredns@v$COREDNS"; }

pause_image() {                               # FOLDER OUTPUT
  gcc -static -Os -s -o "$1/pause" "$HERE/image/pause.c"
  tar cf "$1/pause.tar" --owner=0 --group=0 -C "$1" pause
  "$PY" "$HERE/image/docker_archive.py" "$1/pause.tar" "$2/pause.tar" "$HERE/image/pause.json"
}
python_image() {                              # FOLDER OUTPUT: Debian's Python, which runs torch and Ray from a folder of this machine
  local link
  mmdebstrap --quiet --variant=essential --include=python3,ca-certificates,libstdc++6,busybox-static,procps,wget bookworm "$1/rootfs.tar"
  mkdir -p "$1/more/usr/local/bin"
  for link in nslookup ip nc ping; do ln -s /bin/busybox "$1/more/usr/local/bin/$link"; done
  ln -s /usr/bin/python3 "$1/more/usr/local/bin/python"
  # KubeRay calls `ray`.
  printf '#!/bin/sh\nexec python3 -m ray.scripts.scripts "$@"\n' >"$1/more/usr/local/bin/ray"
  chmod 755 "$1/more/usr/local/bin/ray"
  (cd "$1/more" && tar rf "$1/rootfs.tar" --owner=0 --group=0 ./usr/local/bin/*)
  "$PY" "$HERE/image/docker_archive.py" "$1/rootfs.tar" "$2/python.tar" "$HERE/image/python.json"
}
images() {
  local scratch; scratch=$(mktemp -d)
  pause_image "$scratch" "$1"; python_image "$scratch" "$1"
  rm -rf "$scratch"
}
# Read-only in the pods, so compiled here.
site() { "${UV:-uv}" pip install -q --target "$1" --python "$PY" --python-version 3.11 --compile-bytecode "${@:2}"; }
ray-site() { site "$1" "ray[default]==$RAY"; }

mkdir -p "$CACHE"
for component; do
  target=$(folder "$component")
  [ ! -e "$target/.done" ] || continue
  rm -rf "$target"; mkdir -p "$target"
  began=$SECONDS
  case $component in kubectl) kubectl_ "$target" ;; *) "$component" "$target" ;; esac
  touch "$target/.done"
  echo "$component: $((SECONDS - began)) s, $(du -sm "$target" | cut -f1) MB"
done
