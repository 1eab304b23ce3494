"""Ray's ssh commands, with the port that a rented machine's ssh is mapped to; Ray itself knows port 22 only.

Of command runners Ray makes only the interface public: whoever wants its ssh and rsync, with their retries, multiplexed
connections and quoting, inherits the private one.
"""

from __future__ import annotations

from typing import Any

from ray.autoscaler._private.command_runner import SSHCommandRunner


class VastCommandRunner(SSHCommandRunner):
    """Every command and rsync goes through ``ssh_options``, so the port set there holds for all of them."""

    def _get_node_ip(self) -> str | None:
        host, port = self.provider.ssh_endpoint(self.node_id)
        if host is not None:
            self.ssh_options.arg_dict["Port"] = port
            self.ssh_options.arg_dict["LogLevel"] = "ERROR"  # else ssh says at each command that it learned the host
        return host

    def run(self, *args: Any, **settings: Any) -> Any:
        # with a key of their own Ray builds new options for initialization_commands, which would lose the port
        settings.pop("ssh_options_override_ssh_key", None)
        return super().run(*args, **settings)

    def remote_shell_command_str(self) -> str:
        target = self._get_ssh_target()
        port = self.ssh_options.arg_dict["Port"]
        return f"ssh -o IdentitiesOnly=yes -i {self.ssh_private_key} -p {port} {self.ssh_user}@{target}\n"
