#!/usr/bin/env bash
# The local Prefect installation of the GPU PC: server, pool `gpu-pc`, deployments, worker.
#
#   deployments/prefect.sh server     start the server in the background (no-op if it answers)
#   deployments/prefect.sh deploy     server + pool + every deployment of prefect.yaml
#   deployments/prefect.sh worker     run deployed flows here, in the foreground
#   deployments/prefect.sh stop       stop the server
#
# Everything lives below CATALYST_HOME; nothing leaves this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

home="${CATALYST_HOME:-$HOME/.catalyst-ml}"
mkdir -p "$home"
home="$(cd "$home" && pwd)"
export CATALYST_HOME="$home"
export PREFECT_HOME="${PREFECT_HOME:-$home/prefect}"
export PREFECT_LOCAL_STORAGE_PATH="$home/results"
export PREFECT_LOGGING_EXTRA_LOGGERS=catalyst_ml
export PREFECT_SERVER_ANALYTICS_ENABLED=false
export DO_NOT_TRACK=1
export OMP_WAIT_POLICY=PASSIVE  # waiting threads of a trainer sleep instead of spinning
host=127.0.0.1
port="${PREFECT_PORT:-4200}"
url="http://$host:$port/api"

answers() { python -c "import urllib.request as u; u.urlopen('$url/health', timeout=2)" 2>/dev/null; }

server() {
  if answers; then echo "Prefect server answers at $url"; return; fi
  mkdir -p "$home/logs"
  # The UI asks the browser to talk to port 4200 otherwise, whatever port the server has.
  export PREFECT_UI_API_URL="$url"
  echo "starting the Prefect server at http://$host:$port (first start: about 20 s) ..."
  nohup setsid prefect server start --host "$host" --port "$port" >"$home/logs/prefect-server.log" 2>&1 </dev/null &
  echo $! >"$home/prefect-server.pid"
  for _ in $(seq 120); do
    if answers; then
      # Kept in the profile below PREFECT_HOME, so that `catalyst-ml train` finds this server.
      prefect config set "PREFECT_API_URL=$url" >/dev/null
      return
    fi
    sleep 1
  done
  echo "the Prefect server did not answer at $url within 120 s; its log is $home/logs/prefect-server.log" >&2
  exit 1
}

case "${1:-}" in
  server) server ;;
  deploy)
    server
    export PREFECT_API_URL="$url"
    prefect work-pool inspect gpu-pc >/dev/null 2>&1 || prefect work-pool create gpu-pc --type process
    prefect --no-prompt deploy --all
    echo
    echo "UI:        http://$host:$port"
    echo "worker:    make worker"
    python deployments/next_runs.py
    ;;
  worker)
    server
    export PREFECT_API_URL="$url"
    exec prefect worker start --pool gpu-pc --name "$(hostname)"
    ;;
  stop)
    if [ -f "$home/prefect-server.pid" ]; then
      kill -- "-$(cat "$home/prefect-server.pid")" 2>/dev/null || kill "$(cat "$home/prefect-server.pid")" 2>/dev/null || true
      rm -f "$home/prefect-server.pid"
    fi
    echo "Prefect server stopped"
    ;;
  *) sed -n '2,10p' "$0"; exit 2 ;;
esac
