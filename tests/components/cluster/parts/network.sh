#!/usr/bin/env bash
# The network namespace, without a route out; certificates; one token and kubeconfig per identity.
. "$(dirname "$0")/../env.sh"
mkdir -p "$STATE"/{pki,pid,log,etcd,operators,users}; chmod 700 "$STATE"

ip netns add "$NAME"                          # fails where it exists: then it is not ours
touch "$STATE/made-network"
ip link add "$NAME-h" type veth peer name "$NAME-n"
ip link set "$NAME-n" netns "$NAME"
ip addr add "$HOST_IP/24" dev "$NAME-h"
ip link set "$NAME-h" up
"${NETNS[@]}" sh -eu <<S
ip link set lo up
ip addr add $IP/24 dev $NAME-n
ip link set $NAME-n up
sysctl -qw net.ipv4.ip_forward=1
ip route add default dev lo
S
# That default route is for kube-proxy and the pods; nothing leaves the namespace.

cd "$STATE/pki"
umask 077
EC=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
quiet() { "$@" 2>"$STATE/log/openssl.log" || { cat "$STATE/log/openssl.log" >&2; return 1; }; }
certificate() {                               # certificate NAME SUBJECT [ALTERNATIVE-NAMES]
  printf 'extendedKeyUsage=serverAuth,clientAuth\n%s\n' "${3:+subjectAltName=$3}" >"$1.ext"
  quiet openssl req "${EC[@]}" -subj "$2" -keyout "$1.key" -out "$1.csr"
  quiet openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" -extfile "$1.ext"
}
quiet openssl req -x509 "${EC[@]}" -days 30 -subj /CN=test-ca -keyout ca.key -out ca.crt
certificate apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:$KUBERNETES_IP,IP:127.0.0.1,IP:$IP"
certificate kubelet-client /O=system:masters/CN=apiserver-kubelet-client
certificate kwok /CN=kwok "DNS:localhost,IP:127.0.0.1,IP:$IP"
quiet openssl genrsa -out sa.key 2048

AUTHORITY=$(base64 -w0 ca.crt)
identity() {                                  # identity KUBECONFIG USER [GROUP]
  local token; token=$(openssl rand -hex 20)
  echo "$token,$2,$1${3:+,\"$3\"}" >>"$STATE/tokens.csv"
  cat >"$STATE/$1.kubeconfig" <<K
{apiVersion: v1, kind: Config, current-context: $NAME,
 clusters: [{name: $NAME, cluster: {server: "$API", certificate-authority-data: $AUTHORITY}}],
 users: [{name: $1, user: {token: "$token"}}],
 contexts: [{name: $NAME, context: {cluster: $NAME, user: $1}}]}
K
}
identity admin admin system:masters
identity controller-manager system:kube-controller-manager
identity scheduler system:kube-scheduler
identity node "system:node:$NODE" system:nodes
identity proxy system:kube-proxy
identity kwok kwok system:masters
identity operators operators system:masters
identity coredns system:coredns
