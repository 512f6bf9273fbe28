package anabranch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for tests.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.certificate, a.key = a.sign(&x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificate, key
}

// issue makes a certificate that names its owners. That of a node may be used by servers.
func (a *authority) issue(names ...string) (*x509.Certificate, *ecdsa.PrivateKey) {
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, name := range names {
		uri, err := url.Parse(name)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = append(template.URIs, uri)
		if strings.Contains(name, "/node/") {
			template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		}
	}
	return a.sign(template)
}

// files writes the authority, and the certificate and key of a client.
func (a *authority) files(name string) (ca, certificate, key string) {
	issued, private := a.issue(name)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return path
	}
	return write("ca.pem", "CERTIFICATE", a.certificate.Raw), write("client.pem", "CERTIFICATE", issued.Raw),
		write("client.key", "PRIVATE KEY", der)
}

func TestOnlyTheWantedNodeOfTheClusterIsAccepted(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	m, err := newMutualTLS(ours.files("anabranch://prod/client/app"))
	if err != nil {
		t.Fatal(err)
	}
	for _, check := range []struct {
		authority *authority
		names     []string
		node      uint64
		wrong     string
	}{
		{ours, []string{"anabranch://prod/node/2"}, 2, "<nil>"},
		{ours, []string{"anabranch://prod/node/2", "https://example.com/"}, 0, "<nil>"},
		{ours, []string{"anabranch://prod/node/2"}, 3, "is anabranch://prod/node/2, wanted is node 3 of cluster prod"},
		{ours, []string{"anabranch://test/node/2"}, 0, "wanted is a node of cluster prod"},
		{ours, []string{"anabranch://prod/node/02"}, 0, "names no node, operator or client"},
		{ours, []string{"anabranch://prod/node/2/3"}, 0, "no name anabranch://CLUSTER/ROLE/NAME"},
		{ours, []string{"anabranch://prod/node/2", "anabranch://prod/node/3"}, 2, "more than one name"},
		{ours, []string{"https://example.com/node/"}, 0, "no name anabranch://"},
		{ours, []string{"anabranch://prod/operator/bob"}, 0, "incompatible key usage"},
		{foreign, []string{"anabranch://prod/node/2"}, 2, "unknown authority"},
	} {
		certificate, _ := check.authority.issue(check.names...)
		err := m.verify([]*x509.Certificate{certificate}, check.node)
		if got := fmt.Sprint(err); !strings.Contains(got, check.wrong) {
			t.Errorf("%v as node %d: got %s, want %s", check.names, check.node, got, check.wrong)
		}
	}
}

func TestUnusableFilesLeaveTheFormerOnesInForce(t *testing.T) {
	ca, certificate, key := newAuthority(t).files("anabranch://prod/client/app")
	m, err := newMutualTLS(ca, certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	before := m.newest().own.Leaf
	if err := os.WriteFile(certificate, []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if m.newest().own.Leaf != before {
		t.Error("another certificate is used")
	}
	if _, err := newMutualTLS(ca, certificate, key); err == nil || !strings.Contains(err.Error(), certificate) {
		t.Errorf("got %v", err)
	}
}
