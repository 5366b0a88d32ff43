package nbdtool

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/govmm/govmm/internal/tlstest"
)

// TestTLSOfObject serves clients by TLS whose certificates are checked, and nobody else.
func TestTLSOfObject(t *testing.T) {
	disk(t)
	pki := tlstest.Credentials(t)
	socket, _ := serve(t, "/proc/self/exe", "-t", "-f", "qcow2", "--object", "tls-creds-x509,id=t,endpoint=server,dir="+pki, "--tls-creds", "t", "a.qcow2")
	if out, err := exec.Command("nbdinfo", uri(socket, "")).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("TLS")) {
		t.Errorf("in clear: %v, %s", err, out)
	}
	tool(t, "qemu-img", "info", "--object", "tls-creds-x509,id=c,endpoint=client,dir="+pki, "--image-opts",
		"driver=nbd,server.type=unix,server.path="+socket+",tls-creds=c,tls-hostname=localhost")
}
