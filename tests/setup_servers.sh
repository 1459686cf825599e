#!/usr/bin/env bash
# Installs the servers that tests start as ordinary processes (sshd, pgbouncer, redis-server) and a browser. Only what is
# missing, only with apt.
# A freshly installed server must not open this machine: its service is masked first, and stays masked.
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"

packages=()
units=()
if ! command -v ssh >/dev/null || ! command -v ssh-keygen >/dev/null; then packages+=(openssh-client); fi
if ! command -v sshd >/dev/null; then packages+=(openssh-server) units+=(ssh.service ssh.socket); fi
if ! command -v pgbouncer >/dev/null; then packages+=(pgbouncer) units+=(pgbouncer.service); fi
if ! command -v redis-server >/dev/null; then packages+=(redis-server) units+=(redis-server.service redis.service); fi
if ! command -v chromium >/dev/null; then packages+=(chromium); fi

if [ ${#packages[@]} -eq 0 ]; then
  echo "setup-servers: ssh, sshd, pgbouncer, redis-server and chromium are there; PostgreSQL, S3 and Prefect servers come with 'make setup'."
  exit 0
fi

give_up() {
  echo "setup-servers: $1. Install ${packages[*]} yourself (their services need not run), or go on without:" >&2
  echo "  the tests that need them are skipped and named at the end of 'make test'." >&2
  exit 1
}

command -v apt-get >/dev/null || give_up "this system has no apt-get"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || give_up "not root, and there is no sudo"
  as_root=(sudo)
fi

if [ -d /etc/systemd/system ]; then
  for unit in ${units[@]+"${units[@]}"}; do
    if [ ! -e "/etc/systemd/system/$unit" ] && [ ! -L "/etc/systemd/system/$unit" ]; then
      ${as_root[@]+"${as_root[@]}"} ln -s /dev/null "/etc/systemd/system/$unit" || give_up "$unit could not be masked"
      echo "setup-servers: $unit is masked, so that it does not start; 'systemctl unmask $unit' takes that back."
    fi
  done
fi

echo "setup-servers: installing ${packages[*]} ..."
install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}")
if ! ${as_root[@]+"${as_root[@]}"} "${install[@]}" >/dev/null; then
  # The list of packages may be old or empty.
  ${as_root[@]+"${as_root[@]}"} apt-get update -qq || give_up "apt-get update failed"
  ${as_root[@]+"${as_root[@]}"} "${install[@]}" >/dev/null || give_up "apt-get install failed"
fi
echo "setup-servers: installed."
