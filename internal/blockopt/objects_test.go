package blockopt

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecrets takes passphrases from the command line and from files, as lists and as JSON.
func TestSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("from, file"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := NewObjects()
	for _, object := range []string{
		"secret,id=a,data=x,,y", "qom-type=secret,id=b,format=base64,data=dGVsbA==", "secret,id=c,file=" + file, "secret,id=d,data=",
		`{"qom-type":"secret","id":"e","data":"x,y"}`, `{'qom-type':'secret','id':'f','data':'dGVs\nbA==','format':'base64'}`,
		"secret,id=g,format=base64,data=dGVsbA", "secret,id=h,format=base64,data=eHk=dGVsbA==", // groups: the last one is not whole, and padding inside
	} {
		if err := o.Add(object); err != nil {
			t.Errorf("%s: %v", object, err)
		}
	}
	if err := o.Add("secret,id=noise,format=base64,data=//79"); err != nil {
		t.Error(err)
	}
	if _, err := o.Secrets.Get("noise"); err == nil || err.Error() != "Data from secret noise is not valid UTF-8" {
		t.Errorf("a passphrase that is no text: %v", err)
	}
	for id, want := range map[string]string{"a": "x,y", "b": "tell", "c": "from, file", "d": "", "e": "x,y", "f": "tell", "g": "tel", "h": "xytell"} {
		if got, err := o.Secrets.Get(id); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", id, got, err, want)
		}
	}
}

// TestObjectsThatCanNotBeAreRefused in QEMU's words.
func TestObjectsThatCanNotBeAreRefused(t *testing.T) {
	const identifier = "Parameter 'id' expects an identifier\nIdentifiers consist of letters, digits, '-', '.', '_', starting with a letter."
	for object, want := range map[string]string{
		"":                                     "Parameter 'qom-type' is missing",
		"id=x":                                 "Parameter 'qom-type' is missing",
		"foo,id=x":                             "Parameter 'qom-type' does not accept value 'foo'",
		"iothread,id=x":                        "invalid object type: iothread",
		"authz-pam,id=x":                       "objects of type authz-pam are not supported (secret, tls-creds-x509, authz-simple and authz-list are)",
		"authz-simple,id=x":                    "Parameter 'identity' is missing",
		"authz-list,id=x,rules.0.match=a":      "Parameter 'rules.0.policy' is missing",
		"authz-list,id=x,rules.0.policy=allow": "Parameter 'rules.0.match' is missing",
		"authz-list,id=x,rules.1.match=a,rules.1.policy=allow":                 "Parameter 'rules.0' missing",
		"authz-list,id=x,rules.0.match=a,rules.0.policy=no":                    "Parameter 'policy' does not accept value 'no'",
		"authz-list,id=x,rules.0.match=a,rules.0.policy=deny,rules.0.format=x": "Parameter 'format' does not accept value 'x'",
		"authz-list,id=x,rules.0.match=a,rules.0.policy=deny,rules.0.foo=x":    "Parameter 'rules.0.foo' is unexpected",
		"authz-list,id=x,rules=a":                                              "Invalid parameter type for 'rules', expected: array",
		"authz-list,id=x,policy=maybe":                                         "Parameter 'policy' does not accept value 'maybe'",
		"authz-list,id=1x":                                                     identifier,
		`{"qom-type":"authz-list","id":"x","rules":{"match":"a"}}`:             "Invalid parameter type for 'rules', expected: array",
		`{"qom-type":"authz-list","id":"x","rules":["a"]}`:                     "Invalid parameter type for 'rules[0]', expected: object",
		"secret":                                              "Parameter 'id' is missing",
		"secret,id=1x,data=a":                                 identifier,
		"secret,id=,data=a":                                   identifier,
		"secret,id=x,,y,data=a":                               identifier,
		"secret,id=x":                                         "Either 'file' or 'data' must be provided",
		"secret,id=x,data=a,file=b":                           "'file' and 'data' are mutually exclusive",
		"secret,id=x,file=/none":                              "Unable to read /none: Failed to open file “/none”: No such file or directory",
		"secret,id=x,data=a,foo=b":                            "Parameter 'foo' is unexpected",
		"secret,id=x,data=a,no.such=b":                        "Parameter 'no' is unexpected",
		"secret,id=x,data.a=b":                                "Parameters 'data.*' are unexpected",
		"secret,id=x,data.a=b,data=c":                         "Parameters 'data.*' used inconsistently",
		"secret,data=a,id":                                    "Expected '=' after parameter 'id'",
		",id=x":                                               "Invalid parameter ''",
		"secret,1=x":                                          "Invalid parameter '1'",
		"secret,id=x,data=a,format=b":                         "Parameter 'format' does not accept value 'b'",
		"secret,id=x,data=a,keyid=none":                       "No secret with id 'none'",
		"secret,id=x,data=%,format=base64":                    "Base64 data contains invalid characters",
		`{"qom-type":"secret","id":"1x","data":"a"}`:          identifier,
		`{"qom-type":"secret","id":"x","data":1}`:             "Invalid parameter type for 'data', expected: string",
		`{"qom-type":7,"id":"x"}`:                             "Invalid parameter type for 'qom-type', expected: string",
		`{"qom-type":"secret","id":7}`:                        "Invalid parameter type for 'id', expected: string",
		`{"qom-type":"secret","id":"x","data":"a","foo":"b"}`: "Parameter 'foo' is unexpected",
		`{"qom-type":"secret","id":"x",`:                      "JSON parse error, premature EOI",
		`{"qom-type":"secret","id":"x","data":"a"} x`:         "Expecting at most one JSON value",
		`{}`:                                    "Parameter 'qom-type' is missing",
		"tls-creds-x509,id=x":                   "Missing 'dir' property value",
		"tls-creds-x509,id=x,dir=/none":         "Unable to access credentials /none/ca-cert.pem: No such file or directory",
		"tls-creds-x509,id=x,endpoint=y":        "Parameter 'endpoint' does not accept value 'y'",
		"tls-creds-x509,id=x,priority=y":        "Parameter 'priority' of tls-creds-x509 is not supported",
		"tls-creds-x509,id=x,verify-peer=maybe": "Parameter 'verify-peer' expects 'on' or 'off'",
		`{"qom-type":"tls-creds-x509","id":"x","verify-peer":"off"}`: "Invalid parameter type for 'verify-peer', expected: boolean",
	} {
		o := NewObjects()
		if err := o.Add(object); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", object, err, want)
		}
		if len(o.Secrets)+len(o.credentials)+len(o.authz) > 0 {
			t.Errorf("%s: is made all the same", object)
		}
	}
}

// TestSecretIsEncryptedWithAnother reads a passphrase that another one's key is needed for.
func TestSecretIsEncryptedWithAnother(t *testing.T) {
	key, iv := []byte(strings.Repeat("k", 32)), []byte(strings.Repeat("i", 16))
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("tell" + strings.Repeat("\x0c", 12))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(text, text)
	encode := base64.StdEncoding.EncodeToString
	o := NewObjects()
	for _, object := range []string{
		"secret,id=master,format=base64,data=" + encode(key),
		"secret,id=s,format=base64,keyid=master,iv=" + encode(iv) + ",data=" + encode(text),
	} {
		if err := o.Add(object); err != nil {
			t.Fatal(err)
		}
	}
	if got := o.Secrets["s"]; got != "tell" {
		t.Errorf("%q", got)
	}
	for object, want := range map[string]string{
		"secret,id=x,keyid=master,data=a":                                    "IV is required to decrypt secret",
		"secret,id=x,keyid=master,data=a,iv=YQ==":                            "IV should be 16 bytes in length not 1",
		"secret,id=x,keyid=s,data=a,iv=YQ==":                                 "Key should be 32 bytes in length",
		"secret,id=x,keyid=master,data=a,iv=" + encode(iv):                   "Length 1 must be a multiple of block size 16",
		"secret,id=x,keyid=master,data=" + string(key) + ",iv=" + encode(iv): "Incorrect number of padding bytes (",
	} {
		if err := o.Add(object); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", object, err, want)
		}
	}
}

// TestObjectsHaveDifferentIDs refuses a second object of one id.
func TestObjectsHaveDifferentIDs(t *testing.T) {
	o := NewObjects()
	if err := o.Add("secret,id=x,data=a"); err != nil {
		t.Fatal(err)
	}
	for _, object := range []string{"secret,id=x,data=b", "authz-simple,id=x,identity=y"} {
		if err := o.Add(object); err == nil || err.Error() != "attempt to add duplicate property 'x' to object (type 'container')" {
			t.Errorf("%s: %v", object, err)
		}
	}
	if o.Secrets["x"] != "a" {
		t.Error("the first one is gone")
	}
}

// TestAuthorization asks who may connect: the first rule about somebody counts, and nobody may
// whom none is about, unless the policy says otherwise.
func TestAuthorization(t *testing.T) {
	o := NewObjects()
	for _, object := range []string{
		"authz-simple,id=one,identity=CN=a,,O=b",
		"authz-list,id=none",
		"authz-list,id=all,policy=allow",
		"authz-list,id=list,rules.0.match=CN=bad*,rules.0.policy=deny,rules.0.format=glob,rules.1.match=*O=b,rules.1.policy=allow,rules.1.format=glob,rules.2.match=CN=*,rules.2.policy=allow",
		`{"qom-type":"authz-list","id":"json","policy":"allow","rules":[{"match":"CN=?,O=*","policy":"deny","format":"glob"}]}`,
	} {
		if err := o.Add(object); err != nil {
			t.Fatalf("%s: %v", object, err)
		}
	}
	for _, tt := range []struct {
		id, subject string
		want        bool
	}{
		{"one", "CN=a,O=b", true}, {"one", "CN=a", false}, {"one", "", false},
		{"none", "CN=a", false}, {"all", "CN=a", true},
		{"list", "CN=good,O=b", true}, {"list", "CN=bad,O=b", false}, {"list", "CN=badO=b", false}, {"list", "CN=good", false}, {"list", "CN=*", true}, {"list", "O=", false},
		{"json", "CN=a,O=", false}, {"json", "CN=ab,O=c", true}, {"json", "CN=a", true},
	} {
		a, err := o.Authz(tt.id)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.Allows(tt.subject); got != tt.want {
			t.Errorf("%s of %q: %v", tt.id, tt.subject, got)
		}
	}
	if _, err := o.Authz("other"); err == nil {
		t.Error("an object that is not there is found")
	}
}

// FuzzGlob has patterns match what a plain reading of them does.
func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{{"a*b?c", "axxbyc"}, {"**", ""}, {"*a*", "bab"}, {"?", ""}, {"a*a", "a"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 12 || len(s) > 20 {
			return
		}
		if got, want := globMatch(pattern, s), slowMatch(pattern, s); got != want {
			t.Errorf("%q of %q: %v", pattern, s, got)
		}
	})
}

func slowMatch(pattern, s string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return slowMatch(pattern[1:], s) || s != "" && slowMatch(pattern, s[1:])
	}
	return s != "" && (pattern[0] == '?' || pattern[0] == s[0]) && slowMatch(pattern[1:], s[1:])
}
