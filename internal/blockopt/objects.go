package blockopt

import (
	"fmt"
	"slices"
)

// machineObjects are the types of objects that QEMU has for machines, and not for its
// tools.
var machineObjects = []string{
	"can-bus", "can-host-socketcan", "colo-compare", "cryptodev-backend", "cryptodev-backend-builtin",
	"cryptodev-vhost-user", "dbus-vmstate", "filter-buffer", "filter-dump", "filter-mirror",
	"filter-redirector", "filter-replay", "filter-rewriter", "input-barrier", "input-linux",
	"iothread", "memory-backend-epc", "memory-backend-file", "memory-backend-memfd", "memory-backend-ram",
	"pef-guest", "qtest", "rng-builtin", "rng-egd", "rng-random", "s390-pv-guest", "sev-guest",
	"x-remote-object", "x-vfio-user-server",
}

// toolObjects are those that its tools have, and these do not.
var toolObjects = []string{
	"authz-list", "authz-listfile", "authz-pam", "authz-simple", "main-loop", "pr-manager-helper",
	"secret_keyring", "thread-context", "throttle-group", "tls-cipher-suites", "tls-creds-anon",
	"tls-creds-psk", "tls-creds-x509",
}

// checkType refuses a type of object that is no secret.
func checkType(kind string) error {
	switch {
	case kind == "secret":
		return nil
	case slices.Contains(machineObjects, kind):
		return fmt.Errorf("invalid object type: %s", kind)
	case slices.Contains(toolObjects, kind):
		return fmt.Errorf("objects of type %s are not supported (secret is)", kind)
	}
	return fmt.Errorf("Parameter 'qom-type' does not accept value '%s'", kind)
}
