package anabranch

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// mutualTLS makes TLS configurations from files. Each handshake reads the files again. Files that cannot be used, for
// example while they are replaced, leave the former ones in force.
type mutualTLS struct {
	ca, certificate, key string
	// cluster that the client's own certificate names. It never changes.
	cluster string

	mu      sync.Mutex
	current tlsFiles
}

type tlsFiles struct {
	roots *x509.CertPool
	own   tls.Certificate
}

func newMutualTLS(ca, certificate, key string) (*mutualTLS, error) {
	m := &mutualTLS{ca: ca, certificate: certificate, key: key}
	files, cluster, err := m.read()
	if err != nil {
		return nil, err
	}
	m.current, m.cluster = files, cluster
	return m, nil
}

func (m *mutualTLS) read() (files tlsFiles, cluster string, err error) {
	authorities, err := os.ReadFile(m.ca)
	if err != nil {
		return files, "", err
	}
	files.roots = x509.NewCertPool()
	if !files.roots.AppendCertsFromPEM(authorities) {
		return files, "", fmt.Errorf("%s: holds no certificate in PEM", m.ca)
	}
	if files.own, err = tls.LoadX509KeyPair(m.certificate, m.key); err != nil {
		return files, "", fmt.Errorf("%s, %s: %w", m.certificate, m.key, err)
	}
	owner, err := identityOf(files.own.Leaf)
	if err != nil {
		return files, "", fmt.Errorf("%s: %w", m.certificate, err)
	}
	return files, owner.cluster, nil
}

func (m *mutualTLS) newest() tlsFiles {
	m.mu.Lock()
	defer m.mu.Unlock()
	if files, cluster, err := m.read(); err == nil && cluster == m.cluster {
		m.current = files
	}
	return m.current
}

// config is for connections to a node; 0 means any node of the cluster.
func (m *mutualTLS) config(node uint64) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Host names are not compared, because nodes move. VerifyConnection checks everything else.
		InsecureSkipVerify: true,
		VerifyConnection:   func(state tls.ConnectionState) error { return m.verify(state.PeerCertificates, node) },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			own := m.newest().own
			return &own, nil
		},
	}
}

// verify accepts a certificate that leads to an authority, may be used by servers, and names a node of the cluster: the
// wanted one, unless node is 0.
func (m *mutualTLS) verify(chain []*x509.Certificate, node uint64) error {
	if len(chain) == 0 {
		return errors.New("the server has shown no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         m.newest().roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		return err
	}
	found, err := identityOf(chain[0])
	if err != nil {
		return err
	}
	if found.cluster != m.cluster || found.node == 0 || (node != 0 && found.node != node) {
		wanted := "a node"
		if node != 0 {
			wanted = fmt.Sprintf("node %d", node)
		}
		return fmt.Errorf("the server is %s, wanted is %s of cluster %s", found.text, wanted, m.cluster)
	}
	return nil
}

// identity is the owner that a certificate names: "anabranch://CLUSTER/node/ID", "anabranch://CLUSTER/operator/NAME" or
// "anabranch://CLUSTER/client/NAME".
type identity struct {
	text    string
	cluster string
	// node is 0 for operators and clients.
	node uint64
}

const identityScheme = "anabranch://"

// identityOf reads the only URI with the scheme from the alternative names of a certificate.
func identityOf(certificate *x509.Certificate) (identity, error) {
	var found identity
	for _, uri := range certificate.URIs {
		text := uri.String()
		if !strings.HasPrefix(text, identityScheme) {
			continue
		}
		if found.text != "" {
			return identity{}, errors.New("the certificate has more than one name anabranch://")
		}
		found.text = text
	}
	parts := strings.Split(strings.TrimPrefix(found.text, identityScheme), "/")
	if found.text == "" || len(parts) != 3 || parts[0] == "" || parts[2] == "" {
		return identity{}, fmt.Errorf("the certificate has no name anabranch://CLUSTER/ROLE/NAME: %q", found.text)
	}
	found.cluster = parts[0]
	switch parts[1] {
	case "operator", "client":
		return found, nil
	case "node":
		id, err := strconv.ParseUint(parts[2], 10, 64)
		if err == nil && id > 0 && strconv.FormatUint(id, 10) == parts[2] {
			found.node = id
			return found, nil
		}
	}
	return identity{}, fmt.Errorf("%s: the certificate names no node, operator or client", found.text)
}
