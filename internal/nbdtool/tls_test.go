package nbdtool

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// credentials makes an authority, and a server's and a client's certificate of
// it, in the files that QEMU and libnbd look for.
func credentials(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, kind string, der []byte) {
		must(os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := template(1, "authority")
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(err)
	write("ca-cert.pem", "CERTIFICATE", der)
	for i, who := range []string{"server", "client"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		c := template(int64(2+i), who)
		c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}[i]}
		der, err := x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, caKey)
		must(err)
		write(who+"-cert.pem", "CERTIFICATE", der)
		der, err = x509.MarshalPKCS8PrivateKey(key)
		must(err)
		write(who+"-key.pem", "PRIVATE KEY", der)
	}
	return dir
}

// TestTLSOfObject serves clients by TLS whose certificates are checked, and nobody else.
func TestTLSOfObject(t *testing.T) {
	disk(t)
	pki := credentials(t)
	socket, _ := serve(t, "/proc/self/exe", "-t", "-f", "qcow2", "--object", "tls-creds-x509,id=t,endpoint=server,dir="+pki, "--tls-creds", "t", "a.qcow2")
	if out, err := exec.Command("nbdinfo", uri(socket, "")).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("TLS")) {
		t.Errorf("in clear: %v, %s", err, out)
	}
	tool(t, "qemu-img", "info", "--object", "tls-creds-x509,id=c,endpoint=client,dir="+pki, "--image-opts",
		"driver=nbd,server.type=unix,server.path="+socket+",tls-creds=c,tls-hostname=localhost")
}
