#!/usr/bin/env bash
# Stops what the parts started, by recorded process, and removes what they made. Goes on after a failure: what is gone is gone.
. "$(dirname "$0")/env.sh"
set +e
[ -d "$STATE" ] || exit 0

remove_pods() {
  local pods task
  alive containerd || return
  pods=$("${CTR[@]}" containers ls -q)
  for task in $("${CTR[@]}" tasks ls -q); do "${CTR[@]}" tasks kill -s KILL "$task"; done
  sleep 1
  for task in $("${CTR[@]}" tasks ls -q); do "${CTR[@]}" tasks rm -f "$task"; done   # a shim ends with its pod's last task
  for pod in $pods; do
    "${CTR[@]}" containers rm "$pod"
    rm -f "/var/lib/cni/results/cni-loopback-$pod-lo"
  done
}
unmount_all() {
  local mount
  awk -v state="$STATE/" 'index($2, state) == 1 {print $2}' /proc/mounts | sort -r | while read -r mount; do umount -l "$mount"; done
}
remove_network() {
  ip link del "$NAME-h"; ip netns del "$NAME"
  rm -f /var/lib/cni/results/"$NAME"-*
}
remove_cgroups() {
  local group
  for group in /sys/fs/cgroup/"$NAME" /sys/fs/cgroup/*/"$NAME"; do
    [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} +
  done
}
remove_traces() {
  local log
  for log in /var/log/containers/*.log; do
    case $(readlink "$log") in "$STATE"/*) rm -f "$log" ;; esac
  done
  # Another cluster's operators may see their certificates through it: removing it would take their mounts along.
  grep -qs ' /tmp/k8s-webhook-server ' /proc/[0-9]*/mountinfo || rmdir /tmp/k8s-webhook-server
}

last=(containerd kube-apiserver etcd) first=()
for file in "$STATE"/pid/*; do
  [[ " ${last[*]} " == *" ${file##*/} "* ]] || first+=("${file##*/}")
done
stop "${first[@]}"                            # the kubelet before the pods, or it starts them again
{
  remove_pods
  stop containerd kube-apiserver; stop etcd
  unmount_all
  if [ -e "$STATE/made-network" ]; then remove_network; remove_cgroups; fi   # else they are another's
  remove_traces
} >/dev/null 2>&1
rm -rf --one-file-system "$STATE"
