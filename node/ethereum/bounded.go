package ethereum

import (
	"errors"
	"io"
	"net/http"
)

// mostAnswer bounds an execution client's answer, in bytes: some 20,000
// DepositEvents. Fewer blocks are asked for when it is too long.
const mostAnswer = 32 << 20

var errAnswerTooLong = errors.New("the answer is too long")

// boundedTransport fails answers that would fill the memory.
type boundedTransport struct {
	next http.RoundTripper
	most int64
}

// RoundTrip implements http.RoundTripper.
func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(r)
	if err == nil {
		response.Body = &boundedBody{ReadCloser: response.Body, left: t.most}
	}
	return response, err //nolint:wrapcheck // as the transport below
}

type boundedBody struct {
	io.ReadCloser

	left int64
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errAnswerTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err //nolint:wrapcheck // as the body below
}
