#!/bin/bash
# Runs as root whenever the container starts: the watchdog that ends the machine, whoever forgot it.
# Its key can do nothing but start, stop and delete this one instance.
H=${HOME:-/root} S=${HOME:-/root}/.study
umask 077; mkdir -p "$S"; touch "$H/.no_auto_tmux"
export -p | grep -E '^declare -x (STUDY_|CONTAINER_)' > "$S/env"
cat > "$S/end" <<'X'
#!/bin/bash
S=$(dirname "$(readlink -f "$0")"); . "$S/env"
u=${STUDY_API:-https://console.vast.ai}/api/v0/instances/$CONTAINER_ID/
ask() { curl -sS -m 30 -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $CONTAINER_API_KEY" -H 'Content-Type: application/json' "$@" "$u"; }
w=5
while :; do
  c=$(ask -X DELETE -d '{}')
  echo "$(date +%FT%TZ -u) delete: $c" >> "$S/log"
  # a key that may not delete may still stop: then only the disk is billed until it is reaped
  case $c in 401|403) ask -X PUT -d '{"state":"stopped"}' >> "$S/log" ;; esac
  sleep $w; w=$((w * 2 > 300 ? 300 : w * 2))
done
X
cat > "$S/watch" <<'X'
#!/bin/bash
# Time is counted in seconds of this machine's uptime while it runs: a clock that is set does not matter.
S=$(dirname "$(readlink -f "$0")"); . "$S/env"; P=${STUDY_PROC:-/proc}
up() { read -r t _ < "$P/uptime"; echo "${t%.*}"; }
busy() {
  [ -n "$(find "$S/alive" -mmin -2 2>/dev/null)" ] && return 0
  for f in $P/[0-9]*/cmdline; do tr '\0' ' ' < "$f"; echo; done 2>/dev/null |
    grep -E '^ray::|^[^ ]*python[^ ]* .*(studies/[a-z0-9_]+\.py|-m trainer)' |
    grep -vqE '^ray::(IDLE|DashboardAgent|RuntimeEnvAgent)'
}
used=$(cat "$S/used" 2>/dev/null || echo 0); last=$(up); idle=0
while sleep "${STUDY_WATCH:-15}"; do
  now=$(up); d=$((now - last)); last=$now
  used=$((used + d)); echo $used > "$S/used"
  busy && idle=0 || idle=$((idle + d))
  y=
  [ $used -ge "$STUDY_MAX_SECONDS" ] && y=hours
  [ $used -ge "$STUDY_MONEY_SECONDS" ] && y=money
  [ $idle -ge "$STUDY_IDLE_SECONDS" ] && y=idle
  [ -n "$y" ] && { echo "ended: $y" >> "$S/log"; exec bash "$S/end"; }
done
X
for n in shutdown poweroff halt; do
  printf '#!/bin/bash\nexec bash %s/end\n' "$S" > /usr/local/sbin/$n; chmod 755 /usr/local/sbin/$n
done
command -v sudo > /dev/null || { printf '#!/bin/bash\nexec "$@"\n' > /usr/local/sbin/sudo; chmod 755 /usr/local/sbin/sudo; }
grep -q STUDY_USD "$H/.bashrc" 2>/dev/null || echo "export STUDY_USD_PER_HOUR=$STUDY_USD_PER_HOUR" >> "$H/.bashrc"
setsid nohup bash "$S/watch" > /dev/null 2>&1 < /dev/null &
command -v rsync > /dev/null || { apt-get update -qq && apt-get install -y -qq rsync; } > /dev/null 2>&1
