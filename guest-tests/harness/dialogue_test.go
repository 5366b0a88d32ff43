package harness

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestDialogue(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	d, err := Converse("sh", "-c", `printf 'We\033[04;02H\033[04;03Hlcome \033[0;30;47mto\033c it\n'; read x; echo "got $x"; exit 3`)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Stop()
	if before, err := d.Expect(ctx, "to it"); err != nil || before != "Welcome " {
		t.Fatalf("%q, %v", before, err)
	}
	if err := d.Type("that\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Expect(ctx, "got that"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Expect(ctx, "more"); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("%v", err)
	}
	if err := d.Wait(ctx); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
}

// A guest that says nothing more is not waited for for ever, and Stop ends it.
func TestDialogueThatStops(t *testing.T) {
	d, err := Converse("sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := d.Expect(ctx, "anything"); err == nil || !strings.Contains(err.Error(), "does not say") {
		t.Errorf("%v", err)
	}
	d.Stop()
	if err := d.Wait(t.Context()); err == nil {
		t.Error("it has ended well")
	}
}
