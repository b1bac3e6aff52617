#!/usr/bin/env bash
# containerd, with the images that the pods of the real node run
. "$(dirname "$0")/../env.sh"
mkdir -p "$STATE"/{cni,containerd,containerd-run,containerd-opt}
fill "$HERE/conf/containerd.toml" >"$STATE/containerd.toml"
fill "$HERE/conf/10-bridge.conflist" >"$STATE/cni/10-bridge.conflist"
# All pods together count as much as four other groups of processes: beside two busy test processes they got a fifth of a core, and
# Ray, which has time-outs of its own, did not come up.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
  mkdir -p "/sys/fs/cgroup/$NAME"
  echo 400 >"/sys/fs/cgroup/$NAME/cpu.weight" || echo "no cpu.weight: the pods get as much as any group" >&2
else
  for hierarchy in /sys/fs/cgroup/*/; do mkdir -p "$hierarchy$NAME"; done
  echo 4096 >"/sys/fs/cgroup/cpu/$NAME/cpu.shares" || echo "no cpu.shares: the pods get as much as any group" >&2
fi
ctr oci spec | "$PY" "$HERE/base_spec.py" "$(folder ray-site)" >"$STATE/base-spec.json"
start containerd "${NETNS[@]}" containerd --config "$STATE/containerd.toml"
wait_for 30 "${CTR[@]}" version
for image in pause python; do "${CTR[@]}" images import "$(folder images)/$image.tar" >/dev/null; done
