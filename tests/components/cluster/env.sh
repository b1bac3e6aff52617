# shellcheck shell=bash disable=SC2034
# Settings and helpers, sourced by every script here. place.py gives what differs from cluster to cluster; the defaults are place 0.
set -eu -o pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/versions.env"
CACHE=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/trainyard}
STATE=${STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/trainyard/cluster-0}
NAME=${NAME:-trainyard-0}                     # of the network namespace, the CNI network and the cgroup; the veth pair is $NAME-h, $NAME-n
IP=${IP:-10.123.0.2} HOST_IP=${HOST_IP:-10.123.0.1}
POD_CIDR=10.124.0.0/24 FAKE_CIDR=10.125.0.0/16 SERVICE_CIDR=10.96.0.0/16 KUBERNETES_IP=10.96.0.1 DNS_IP=10.96.0.10
API=https://$IP:6443 NODE=real-0
IMAGE=local.test/python:3.11
PY=${PY:-python3}
export KUBECONFIG=$STATE/admin.kubeconfig
export GOGC=${GOGC:-400}                      # memory for time: collecting garbage is a tenth of what the control plane costs
export TRAINYARD_CLUSTER=$STATE               # every process of the cluster inherits this mark; leftovers.py looks for it

NETNS=(nsenter --net="/run/netns/$NAME")      # not `ip netns exec`: that remounts /sys and hides the cgroup mounts
CTR=(ctr -a "$STATE/containerd.sock" -n k8s.io)

folder() {                                    # folder COMPONENT: its place in the cache
  local version
  case $1 in
    kubectl | control-plane | kubelet | kube-proxy) version=$KUBERNETES ;;
    etcd) version=$ETCD ;; kwok) version=$KWOK ;; coredns) version=$COREDNS ;;
    training) version=$TRAINING ;; kuberay) version=$KUBERAY ;; jobset) version=$JOBSET ;; trainer) version=$TRAINER ;;
    images) version=$IMAGES ;; ray-site) version=$RAY ;;
    *) echo "no such component: $1" >&2; return 1 ;;
  esac
  echo "$CACHE/$1@$version"
}
program() {                                   # program COMPONENT NAME: KUBEBUILDER_ASSETS wins over what was built
  local asset=${KUBEBUILDER_ASSETS:-/nonexistent}/$2
  if [ -x "$asset" ]; then echo "$asset"; else echo "$(folder "$1")/$2"; fi
}
PATH=${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS:}$PATH:$(folder kubectl)

start_time() { awk '{sub(/.*\) /, ""); print $20}' "/proc/$1/stat" 2>/dev/null; }
start() {                                     # start NAME COMMAND...: in the background; "pid start-time" goes to $STATE/pid/NAME
  local name=$1 pid; shift
  setsid "$@" >"$STATE/log/$name.log" 2>&1 </dev/null &
  pid=$!
  echo "$pid $(start_time $pid)" >"$STATE/pid/$name"
}
alive() {                                     # the start time tells it from another process that got the number later
  local pid began
  read -r pid began <"$STATE/pid/$1" && [ -n "$began" ] && [ "$(start_time "$pid")" = "$began" ]
} 2>/dev/null
send() {                                      # send SIGNAL NAME: to the process and its children, which share its group
  local pid _
  if alive "$2"; then read -r pid _ <"$STATE/pid/$2"; kill -s "$1" -- "-$pid" || true; fi
}
stop() {                                      # stop NAME...: TERM to all of them, after 5 s KILL
  local name deadline=$((SECONDS + 5))
  for name; do send TERM "$name"; done
  for name; do
    while alive "$name" && [ $SECONDS -lt $deadline ]; do sleep .1; done
    send KILL "$name"
    while alive "$name" && [ $SECONDS -lt $((deadline + 5)) ]; do sleep .1; done
    rm -f "$STATE/pid/$name"
  done
}
wait_for() {                                  # wait_for SECONDS COMMAND...: until it succeeds
  local limit=$1 deadline=$((SECONDS + $1)); shift
  until "$@" >"$STATE/log/wait.$BASHPID" 2>&1; do
    if [ $SECONDS -ge $deadline ]; then
      echo "not within $limit s: $*" >&2; tail -n 5 "$STATE/log/wait.$BASHPID" >&2
      return 1
    fi
    sleep .1
  done
  rm -f "$STATE/log/wait.$BASHPID"
}
fill() {                                      # fill FILE: the template with its @PLACEHOLDERS@ replaced
  sed -e "s#@STATE@#$STATE#g; s#@IP@#$IP#g; s#@NAME@#$NAME#g; s#@POD_CIDR@#$POD_CIDR#g; s#@DNS_IP@#$DNS_IP#g" "$1"
}
