package kubeconfig

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// maxServer bounds an address, in bytes.
const maxServer = 2048

// readCluster takes what is public from the cluster of the current context.
func readCluster(c *clientcmdapi.Cluster) (Public, error) {
	switch {
	case c.InsecureSkipTLSVerify:
		return Public{}, refuse("cluster.insecure-skip-tls-verify", "it would believe any server: embed the cluster's authority as certificate-authority-data")
	case c.CertificateAuthority != "":
		return Public{}, refuse("cluster.certificate-authority", "it would read a file of this server: embed the file as certificate-authority-data (kubectl config view --minify --flatten --raw)")
	case c.ProxyURL != "":
		return Public{}, refuse("cluster.proxy-url", "a proxy would stand in between: give an address that this server reaches itself")
	}
	if err := checkServer(c.Server); err != nil {
		return Public{}, err
	}
	if err := checkServerName(c.TLSServerName); err != nil {
		return Public{}, err
	}
	var ca []byte // none is a public authority
	if len(c.CertificateAuthorityData) > 0 {
		var err error
		if ca, _, err = certificates("cluster.certificate-authority-data", c.CertificateAuthorityData, false); err != nil {
			return Public{}, err
		}
	}
	return Public{Server: c.Server, TLSServerName: c.TLSServerName, CA: ca}, nil
}

// checkServer never repeats the address, which may have a password in it.
func checkServer(server string) error {
	const field = "cluster.server"
	if server == "" {
		return refuse(field, "it is missing: give the address of the API server, as in https://10.0.0.1:6443")
	}
	at, err := url.Parse(server)
	switch {
	case err != nil || len(server) > maxServer || strings.ContainsFunc(server, func(r rune) bool { return r <= ' ' || r > '~' }):
		return refuse(field, "it is not a URL, as in https://10.0.0.1:6443")
	case at.Scheme != "https":
		return refuse(field, "it is not https: certificates do not log in over anything else")
	case at.User != nil:
		return refuse(field, "it holds a user or password: put a token or certificate into the user instead")
	case strings.ContainsAny(server, "?#"):
		return refuse(field, "it has a query or fragment: leave out what follows ? or #")
	case at.Hostname() == "":
		return refuse(field, "it names no host, as in https://10.0.0.1:6443")
	}
	if port := at.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return refuse(field, "its port is not one of 1 to 65535")
		}
	}
	return nil
}

func checkServerName(name string) error {
	if name == "" || len(validation.IsDNS1123Subdomain(name)) == 0 {
		return nil
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	return refuse("cluster.tls-server-name", "it is neither a DNS name nor an IP address")
}
