package nbdtool

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/tlstest"
)

// TestTLSOfObject serves clients by TLS whose certificates are checked, and nobody else.
func TestTLSOfObject(t *testing.T) {
	disk(t)
	pki, stranger := tlstest.Credentials(t), tlstest.Credentials(t)
	socket, _ := serve(t, "/proc/self/exe", "-t", "-f", "qcow2", "--object", "tls-creds-x509,id=t,endpoint=server,dir="+pki, "--tls-creds", "t", "a.qcow2")
	if out, err := exec.Command("nbdinfo", uri(socket, "")).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("TLS")) {
		t.Errorf("in clear: %v, %s", err, out)
	}
	tool(t, "qemu-img", "info", "--object", "tls-creds-x509,id=c,endpoint=client,dir="+pki, "--image-opts",
		"driver=nbd,server.type=unix,server.path="+socket+",tls-creds=c,tls-hostname=localhost")
	const export = "exports available: 1\n export: ''\n"
	for options, want := range map[string]string{
		"--object tls-creds-x509,id=c,dir=" + pki + " --tls-creds c --tls-hostname localhost":                        export,
		`--object {"qom-type":"tls-creds-x509","id":"c","dir":"` + pki + `"} --tls-creds c --tls-hostname 127.0.0.1`: export,
		"--object tls-creds-x509,id=c,dir=" + pki + " --tls-creds c":                                                 name + ": No hostname for certificate validation\n",
		"--object tls-creds-x509,id=c,dir=" + pki + " --tls-creds c --tls-hostname other":                            name + ": Certificate does not match the hostname other\n",
		"--object tls-creds-x509,id=c,dir=" + stranger + " --tls-creds c --tls-hostname localhost":                   name + ": The certificate hasn't got a known issuer\n",
		"": name + ": TLS negotiation required before option 3 (list)\nDid you forget a valid tls-creds?\nserver reported: Option 0x3 not permitted before TLS\n",
	} {
		args := append(strings.Fields("-L -k "+socket), strings.Fields(options)...)
		if _, printed := inside(args...); !strings.HasPrefix(printed, want) {
			t.Errorf("%s: %q, want %q", options, printed, want)
		}
		if strings.Contains(options, stranger) { // the authorities have one name, of which QEMU says something else
			continue
		}
		theirs, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, printed := run(t, theirs, args...); !strings.HasPrefix(printed, want) {
			t.Errorf("%s: QEMU prints %q, want %q", options, printed, want)
		}
	}
}

// TestListWantsTLSOfServer refuses to go on in clear with a server that has no TLS.
func TestListWantsTLSOfServer(t *testing.T) {
	disk(t)
	pki := tlstest.Credentials(t)
	socket, _ := serve(t, "/proc/self/exe", "-t", "-f", "qcow2", "a.qcow2")
	theirs, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-L", "-k", socket, "--object", "tls-creds-x509,id=c,dir=" + pki, "--tls-creds", "c"}
	_, want := run(t, theirs, args...)
	if status, printed := inside(args...); status != 1 || printed != want {
		t.Errorf("status %d, %q, want %q", status, printed, want)
	}
}
