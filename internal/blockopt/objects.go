package blockopt

import "fmt"

// machineObjects are the types of objects that QEMU has for machines, and not for its
// tools.
var machineObjects = map[string]bool{
	"can-bus": true, "can-host-socketcan": true, "colo-compare": true, "cryptodev-backend": true, "cryptodev-backend-builtin": true,
	"cryptodev-vhost-user": true, "dbus-vmstate": true, "filter-buffer": true, "filter-dump": true, "filter-mirror": true,
	"filter-redirector": true, "filter-replay": true, "filter-rewriter": true, "input-barrier": true, "input-linux": true,
	"iothread": true, "memory-backend-epc": true, "memory-backend-file": true, "memory-backend-memfd": true, "memory-backend-ram": true,
	"pef-guest": true, "qtest": true, "rng-builtin": true, "rng-egd": true, "rng-random": true, "s390-pv-guest": true, "sev-guest": true,
	"x-remote-object": true, "x-vfio-user-server": true,
}

// toolObjects are those that its tools have, and these do not.
var toolObjects = map[string]bool{
	"authz-list": true, "authz-listfile": true, "authz-pam": true, "authz-simple": true, "main-loop": true, "pr-manager-helper": true,
	"secret_keyring": true, "thread-context": true, "throttle-group": true, "tls-cipher-suites": true, "tls-creds-anon": true,
	"tls-creds-psk": true, "tls-creds-x509": true,
}

// checkType refuses a type of object that is no secret.
func checkType(kind string) error {
	switch {
	case kind == "secret":
		return nil
	case machineObjects[kind]:
		return fmt.Errorf("invalid object type: %s", kind)
	case toolObjects[kind]:
		return fmt.Errorf("objects of type %s are not supported (secret is)", kind)
	}
	return fmt.Errorf("Parameter 'qom-type' does not accept value '%s'", kind)
}
