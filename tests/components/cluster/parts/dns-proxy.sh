#!/usr/bin/env bash
# CoreDNS, and kube-proxy, so that ClusterIPs work and DNS is a Service
. "$(dirname "$0")/../env.sh"
cat >"$STATE/Corefile" <<C
.:53 {
  bind $IP
  errors
  health 127.0.0.1:8180
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $STATE/coredns.kubeconfig $NAME
    pods insecure
    ttl 1
  }
}
C
PROXY_ARGS=(
  --kubeconfig="$STATE/proxy.kubeconfig" --proxy-mode=iptables --cluster-cidr="$POD_CIDR" --hostname-override="$NODE" --bind-address="$IP"
  --healthz-bind-address=127.0.0.1:10256 --metrics-bind-address=127.0.0.1:10249
  # These would write sysctls, which need more rights than root in a container has.
  --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
)
start kube-proxy "${NETNS[@]}" "$(folder kube-proxy)/kube-proxy" "${PROXY_ARGS[@]}"
fill "$HERE/conf/coredns-rbac.yaml" | kubectl apply -f - >/dev/null
start coredns "${NETNS[@]}" "$(folder coredns)/coredns" -conf "$STATE/Corefile"
wait_for 20 "${NETNS[@]}" curl -sf http://127.0.0.1:8180/health
wait_for 20 "${NETNS[@]}" curl -sf http://127.0.0.1:10256/healthz
