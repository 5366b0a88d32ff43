package blockopt

import (
	"errors"
	"fmt"
	"strings"
)

// Authorization says who may connect: whose certificate is good is not enough then.
type Authorization struct {
	rules []authzRule
	allow bool // whom no rule is about
}

// authzRule is about the subjects of certificates, written as in RFC 2253: the text itself or,
// if glob is set, a pattern with * and ?.
type authzRule struct {
	match       string
	glob, allow bool
}

// Allows reports whether the subject of a certificate may connect. The first rule about it
// counts.
func (a *Authorization) Allows(subject string) bool {
	for _, r := range a.rules {
		if r.glob && globMatch(r.match, subject) || !r.glob && r.match == subject {
			return r.allow
		}
	}
	return a.allow
}

// globMatch reports whether * and ? in a pattern can stand for what is in s.
func globMatch(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	fits := func(p, s string) bool {
		for i := range p {
			if p[i] != '?' && p[i] != s[i] {
				return false
			}
		}
		return true
	}
	if len(s) < len(first) || !fits(first, s) {
		return false
	}
	s = s[len(first):]
	for star {
		first, rest, star = strings.Cut(rest, "*")
		if !star { // the end of the pattern is that of the text
			return len(s) >= len(first) && fits(first, s[len(s)-len(first):])
		}
		for !(len(s) >= len(first) && fits(first, s)) {
			if s == "" {
				return false
			}
			s = s[1:]
		}
		s = s[len(first):]
	}
	return s == ""
}

// newAuthorization takes the properties of an authz-simple or authz-list.
func newAuthorization(p *properties, kind, id string) (*Authorization, error) {
	a := new(Authorization)
	if kind == simpleAuthzType {
		subject, known, err := p.text("identity")
		if err == nil && !known {
			err = errors.New("Parameter 'identity' is missing")
		}
		if err != nil {
			return nil, err
		}
		a.rules = []authzRule{{match: subject, allow: true}}
		return a, p.finish(id)
	}
	policy, err := p.one("policy", "deny", "allow")
	if err != nil {
		return nil, err
	}
	a.allow = policy == "allow"
	rules, err := p.list("rules")
	if err != nil {
		return nil, err
	}
	for _, q := range rules {
		r, err := newAuthzRule(q)
		if err != nil {
			return nil, err
		}
		a.rules = append(a.rules, r)
	}
	return a, p.finish(id)
}

func newAuthzRule(p *properties) (r authzRule, err error) {
	match, known, err := p.text("match")
	if err == nil && !known {
		err = fmt.Errorf("Parameter '%smatch' is missing", p.path)
	}
	if err != nil {
		return r, err
	}
	if _, known := p.values["policy"]; !known {
		return r, fmt.Errorf("Parameter '%spolicy' is missing", p.path)
	}
	policy, err := p.one("policy", "deny", "allow")
	if err != nil {
		return r, err
	}
	format, err := p.one("format", "exact", "glob")
	if err != nil {
		return r, err
	}
	return authzRule{match, format == "glob", policy == "allow"}, p.taken()
}

// Authz finds what says who may connect, by its id.
func (o *Objects) Authz(id string) (*Authorization, error) {
	a := o.authz[id]
	if a == nil {
		return nil, fmt.Errorf("Cannot find QAuthZ object ID %s", id)
	}
	return a, nil
}
