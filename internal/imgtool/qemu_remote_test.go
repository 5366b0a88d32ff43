package imgtool

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/govmm/govmm/internal/sockettest"
	"github.com/govmm/govmm/internal/tlstest"
)

// remoteScripts use an export, whose socket is s and whose name is e.
var remoteScripts = []script{
	{"exports", `
		info nbd+unix:///e?socket=s
		info -f raw nbd:unix:s:exportname=e
		info --output=json nbd+unix:///e?socket=s
		info --image-opts driver=nbd,server.type=unix,server.path=s,export=e
		info --image-opts driver=nbd,path=s,export=e
		info --image-opts driver=raw,file.driver=nbd,file.path=s,file.export=e,size=1M
		info blkdebug::nbd+unix:///e?socket=s
		map --output=json blkdebug::nbd+unix:///e?socket=s
		info blkdebug::json:{"driver":"nbd","path":"s","export":"e"}
		info nbd+unix:///none?socket=s
		info nbd+unix:///e?socket=nowhere
		info nbd+unix:///e
		info nbd://localhost/e?socket=s
		info nbd://localhost:1/e
		info json:{"driver":"nbd","host":-1}
		info --image-opts driver=nbd
		info --image-opts driver=nbd,path=s,host=x
		info --image-opts driver=nbd,port=1
		info --image-opts driver=nbd,path=s,export=e,foo=1
		map --output=json nbd+unix:///e?socket=s
		map nbd+unix:///e?socket=s
		measure -f raw -O qcow2 nbd+unix:///e?socket=s
		compare -f raw -F qcow2 nbd+unix:///e?socket=s d
		convert -f raw -O qcow2 nbd+unix:///e?socket=s copy
		same copy
		dd -f raw if=nbd+unix:///e?socket=s of=part bs=64k count=4
		same part
		resize -f raw nbd+unix:///e?socket=s 8M
		create -f raw nbd+unix:///e?socket=s 8M
		create -f qcow2 nbd+unix:///e?socket=s 8G
		create -q -f qcow2 small 1M
		io -f qcow2 -c "write -P 9 128k 100k" small
		convert -f qcow2 -O qcow2 small nbd+unix:///e?socket=s
		info nbd+unix:///e?socket=s
		check nbd+unix:///e?socket=s
		compare -f qcow2 -F qcow2 nbd+unix:///e?socket=s small
		convert -f qcow2 -n -O raw small nbd+unix:///e?socket=s
		compare -f raw -F qcow2 nbd+unix:///e?socket=s small
	`},
	{"exports over TLS", `
		info --object tls-creds-x509,id=c,dir=PKI --image-opts driver=nbd,path=s,export=e,tls-creds=c,tls-hostname=localhost
		info --output=json --object {"qom-type":"tls-creds-x509","id":"c","dir":"PKI"} json:{"driver":"nbd","path":"s","export":"e","tls-creds":"c","tls-hostname":"127.0.0.1"}
		info --object tls-creds-x509,id=c,dir=PKI --image-opts driver=nbd,path=s,export=e,tls-creds=c
		info --object tls-creds-x509,id=c,dir=PKI --image-opts driver=nbd,path=s,export=e,tls-creds=c,tls-hostname=other
		info --object tls-creds-x509,id=c,dir=PKI --image-opts driver=nbd,path=s,export=e,tls-creds=none
		info --object tls-creds-x509,id=c,dir=PKI,endpoint=server --image-opts driver=nbd,path=s,export=e,tls-creds=c
		info --object secret,id=c,data=x --image-opts driver=nbd,path=s,export=e,tls-creds=c
		info --image-opts driver=nbd,path=s,export=e
		convert --object tls-creds-x509,id=c,dir=PKI --image-opts driver=nbd,path=s,export=e,tls-creds=c,tls-hostname=localhost -O qcow2 copy
		same copy
	`},
}

// TestRemoteAgainstQEMU has both work on exports of qemu-nbd, each on its own.
func TestRemoteAgainstQEMU(t *testing.T) {
	for _, tool := range []string{"qemu-img", "qemu-io", "qemu-nbd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian package qemu-utils)", tool)
		}
	}
	pki := tlstest.Credentials(t)
	for _, s := range remoteScripts {
		options := []string{"-t", "-e", "8", "-f", "qcow2", "-x", "e"}
		if strings.Contains(s.name, "TLS") {
			options = append(options, "--object", "tls-creds-x509,id=t,endpoint=server,dir="+pki, "--tls-creds", "t")
		}
		t.Run(s.name, func(t *testing.T) {
			dirs := []string{t.TempDir(), t.TempDir()}
			for _, dir := range dirs {
				for _, words := range [][]string{
					{"qemu-img", "create", "-q", "-f", "qcow2", "d", "4M"},
					{"qemu-io", "-f", "qcow2", "-c", "write -q -P 3 0 100k", "-c", "write -q -P 4 2M 64k", "d"},
				} {
					cmd := exec.Command(words[0], words[1:]...)
					cmd.Dir = dir
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Fatalf("%q: %v %s", words, err, out)
					}
				}
				socket := sockettest.Path(t)
				server := exec.Command("qemu-nbd", append(options, "-k", socket, "d")...)
				server.Dir = dir
				if err := server.Start(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					_ = server.Process.Kill()
					_ = server.Wait()
				})
				sockettest.Await(t, socket)
				if err := os.Symlink(socket, filepath.Join(dir, "s")); err != nil {
					t.Fatal(err)
				}
			}
			for _, line := range strings.Split(strings.TrimSpace(s.lines), "\n") {
				line = strings.ReplaceAll(strings.TrimSpace(line), "PKI", pki)
				words := split(line)
				switch words[0] {
				case "io":
					for _, dir := range dirs {
						cmd := exec.Command("qemu-io", words[1:]...)
						cmd.Dir = dir
						if out, err := cmd.CombinedOutput(); err != nil {
							t.Fatalf("%s: %v %s", line, err, out)
						}
					}
				case "same":
					same(t, dirs[0], dirs[1], words[1])
				default:
					compareRuns(t, dirs[0], dirs[1], line)
				}
			}
		})
	}
}
