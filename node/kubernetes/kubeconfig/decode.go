package kubeconfig

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"unicode/utf8"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// MaxSize bounds a kubeconfig, in bytes, before base64.
const MaxSize = 256 << 10

// Decode takes the base64 off a kubeconfig that came in base64 (RFC 4648, either
// alphabet, with or without padding and line breaks) and returns any other as it is.
// The error is a [*Refused]: nothing there, too large, neither text nor base64.
func Decode(data []byte) ([]byte, error) {
	text := bytes.TrimSpace(data)
	switch {
	case len(text) == 0:
		return nil, refuse("", "it is empty: give the file that kubectl uses for the cluster")
	case len(text) > MaxSize*3/2:
		return nil, tooLarge()
	}
	// Every kubeconfig has a colon; base64 has none.
	if !bytes.ContainsRune(text, ':') {
		decoded, err := fromBase64(text)
		if err != nil {
			return nil, refuse("", "it is neither YAML or JSON with fields nor base64 of it")
		}
		text = decoded
	}
	switch {
	case len(text) > MaxSize:
		return nil, tooLarge()
	case !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0:
		return nil, refuse("", "it is not text in UTF-8")
	}
	return text, nil
}

func tooLarge() error {
	return refuse("", fmt.Sprintf("it is larger than %d KiB: leave out clusters and users that its current context does not need (kubectl config view --minify --flatten --raw)", MaxSize>>10))
}

// fromBase64 reads both alphabets, padded or not.
func fromBase64(text []byte) ([]byte, error) {
	plain := make([]byte, 0, len(text))
	for _, c := range text {
		switch c {
		case ' ', '\t', '\r', '\n':
		case '-':
			plain = append(plain, '+')
		case '_':
			plain = append(plain, '/')
		default:
			plain = append(plain, c)
		}
	}
	plain = bytes.TrimRight(plain, "=")
	decoded := make([]byte, base64.RawStdEncoding.DecodedLen(len(plain)))
	n, err := base64.RawStdEncoding.Decode(decoded, plain)
	return decoded[:n], err //nolint:wrapcheck // the caller says what it means
}

// lineNumber finds where a YAML parser stumbled. Nothing else of its errors is told,
// because they repeat what they read.
var lineNumber = regexp.MustCompile(`line \d{1,7}`)

// load reads the text as kubectl does.
func load(text []byte) (*clientcmdapi.Config, error) {
	config, err := clientcmd.Load(text)
	if err != nil {
		where := ""
		if line := lineNumber.FindString(err.Error()); line != "" {
			where = " (" + line + ")"
		}
		return nil, refuse("", "it can not be read as a kubeconfig of kind Config, apiVersion v1"+where+": check it with kubectl --kubeconfig FILE config view")
	}
	return config, nil
}
