package nbdtool

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
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

// TestAuthorizationOfSubject serves clients by the subjects of their certificates, as QEMU
// does.
func TestAuthorizationOfSubject(t *testing.T) {
	disk(t)
	pki := tlstest.Credentials(t)
	theirs, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	for authz, want := range map[string]bool{
		"authz-simple,id=z,identity=CN=client":                                         true,
		"authz-simple,id=z,identity=CN=other":                                          false,
		"authz-list,id=z,rules.0.match=CN=c*,rules.0.policy=allow,rules.0.format=glob": true,
		"authz-list,id=z,policy=allow,rules.0.match=CN=client,rules.0.policy=deny":     false,
	} {
		for _, server := range []string{theirs, "/proc/self/exe"} {
			socket, _ := serve(t, server, "-t", "-r", "-f", "qcow2", "--object", "tls-creds-x509,id=t,endpoint=server,dir="+pki, "--tls-creds", "t",
				"--object", authz, "--tls-authz", "z", "a.qcow2")
			status, printed := inside("-L", "-k", socket, "--object", "tls-creds-x509,id=c,dir="+pki, "--tls-creds", "c", "--tls-hostname", "localhost")
			if (status == 0) != want {
				t.Errorf("%s, server %s: status %d, %s", authz, server, status, printed)
			}
		}
	}
	for _, args := range [][]string{
		{"--object", "tls-creds-x509,id=t,endpoint=server,verify-peer=off,dir=" + pki, "--object", "authz-simple,id=z,identity=x", "--tls-authz", "z"},
		{"--object", "tls-creds-x509,id=t,endpoint=server,dir=" + pki, "--tls-authz", "none"},
	} {
		if status, printed := inside(append(args, "--tls-creds", "t", "-k", t.TempDir()+"/s", "-f", "qcow2", "a.qcow2")...); status != 1 {
			t.Errorf("%q: status %d, %s", args, status, printed)
		}
	}
}

// TestSubjectIsWrittenLikeQEMU writes the parts of a subject in reverse, as GnuTLS does.
func TestSubjectIsWrittenLikeQEMU(t *testing.T) {
	raw, err := asn1.Marshal(pkix.Name{CommonName: "a, b", Organization: []string{"O"}, Country: []string{"C"}, Locality: []string{"L'x"}}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	got, err := subjectOf(&x509.Certificate{RawSubject: raw})
	if want := `CN=a\, b,O=O,L=L'x,C=C`; err != nil || got != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}
