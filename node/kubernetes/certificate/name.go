package certificate

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrUser is wrapped by what [CheckUser] answers.
var ErrUser = errors.New("not a name for a user")

const (
	// MaxUser is the most bytes that the name of a user has.
	MaxUser = 128
	// userInName is how many bytes of it a common name shows.
	userInName = 32
	// reserved is Kubernetes' own beginning of users and groups.
	reserved = "system:"
)

// CheckUser reports why a name can not be that of a cloud's user; the error wraps
// [ErrUser] and does not repeat the name. A name is 1 to [MaxUser] bytes of printable
// UTF-8 without a space at either end. One that would lead to a common name with
// Kubernetes' reserved beginning "system:", in whatever case, is refused too.
func CheckUser(user string) error {
	switch {
	case user == "":
		return fmt.Errorf("%w: it is empty", ErrUser)
	case len(user) > MaxUser:
		return fmt.Errorf("%w: it has %d bytes, the most is %d", ErrUser, len(user), MaxUser)
	case !utf8.ValidString(user):
		return fmt.Errorf("%w: it is not UTF-8", ErrUser)
	case strings.ContainsFunc(user, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%w: it has a control or another character that does not print", ErrUser)
	case strings.HasPrefix(user, " ") || strings.HasSuffix(user, " "):
		return fmt.Errorf("%w: it begins or ends with a space", ErrUser)
	case strings.HasPrefix(strings.ToLower(user+":"), reserved):
		return fmt.Errorf("%w: Kubernetes keeps names that begin with %q for itself", ErrUser, reserved)
	}
	return nil
}

// CommonName is the name with which a cloud's user logs in to Kubernetes: at most 32
// bytes of the user, cut between characters, a colon, and 16 hexadecimal digits of
// SHA-256 over cluster ID, project, cloud, user and generation. It has at most 49
// bytes (X.509 allows 64 characters) and differs between generations, between clouds
// with one user name, and between clusters of ours. The user has passed [CheckUser].
func CommonName(clusterID, project, cloud, user string, generation uint64) string {
	sum := digest(generation, clusterID, project, cloud, user)
	return cut(user, userInName) + ":" + hex.EncodeToString(sum[:8])
}

// CloudID names a logical cloud in 16 hexadecimal digits, fit for labels and names of
// objects: the beginning of SHA-256 over cluster ID, project and cloud.
func CloudID(clusterID, project, cloud string) string {
	sum := digest(0, clusterID, project, cloud)
	return hex.EncodeToString(sum[:8])
}

// RequestName names a CSR object: one of its own for each cloud, generation,
// reference and round (one try to get a certificate), and for each random, so that
// nobody can take the name beforehand. It is a DNS-1123 subdomain of at most 97
// characters, and of at most 63 while generation and round have six digits together.
func RequestName(clusterID, project, cloud, reference string, generation, round uint64, random [8]byte) string {
	sum := digest(0, reference)
	return fmt.Sprintf("keysteward-%s-g%d-%x-r%d-%x",
		CloudID(clusterID, project, cloud), generation, sum[:4], round, random)
}

// ObjectName names another object that a cloud has in its clusters, such as the Role
// of a permission: a DNS-1123 label of at most 63 characters, whatever the characters
// and length of the name, another one for each cloud, generation, kind and name.
// The cloudID is that of [CloudID].
func ObjectName(cloudID string, generation uint64, kind, name string) string {
	sum := digest(generation, cloudID, kind, name)
	return "keysteward-" + cloudID + "-g" + strconv.FormatUint(generation, 10) + "-" + lower32.EncodeToString(sum[:8])
}

// lower32 spends 13 characters on 64 bits, where hexadecimal digits would take the
// longest name beyond 63.
var lower32 = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// digest is SHA-256 over the parts, each after its length in bytes, and the number.
// Lengths and number are eight bytes, the highest first.
func digest(number uint64, parts ...string) [sha256.Size]byte {
	var text []byte
	for _, part := range parts {
		text = binary.BigEndian.AppendUint64(text, uint64(len(part)))
		text = append(text, part...)
	}
	return sha256.Sum256(binary.BigEndian.AppendUint64(text, number))
}

// cut shortens a text to at most so many bytes without splitting a character.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}
