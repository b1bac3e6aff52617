#!/usr/bin/env bash
# containerd, with the images that the pods of the real node run
. "$(dirname "$0")/../env.sh"
mkdir -p "$STATE"/{cni,containerd,containerd-run,containerd-opt}
fill "$HERE/conf/containerd.toml" >"$STATE/containerd.toml"
fill "$HERE/conf/10-bridge.conflist" >"$STATE/cni/10-bridge.conflist"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mkdir -p "/sys/fs/cgroup/$NAME"
else
  for hierarchy in /sys/fs/cgroup/*/; do mkdir -p "$hierarchy$NAME"; done
fi
ctr oci spec | "$PY" "$HERE/base_spec.py" "$(folder ray-site)" >"$STATE/base-spec.json"
start containerd "${NETNS[@]}" containerd --config "$STATE/containerd.toml"
wait_for 30 "${CTR[@]}" version
for image in pause python; do "${CTR[@]}" images import "$(folder images)/$image.tar" >/dev/null; done
