package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// httpClients put the API under load, each over a connection of its own that is kept, with
// one request at a time. They speak HTTP/1.1 by hand, and no more of it than this API uses:
// Go's client takes more of two cores than the nodes do. There is no TLS, as etcd has none
// here; each request has a token, where etcd's have nothing.
type httpClients struct {
	host, token string
	until       time.Time

	mu        sync.Mutex
	latencies []time.Duration
	failure   error
}

var errHTTPLoad = errors.New("load over HTTP")

// load counts and times every request of some clients.
func (c *localCluster) load(ctx context.Context, name, kind string, clients int, duration time.Duration) (figure, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return figure{}, err
	}
	begin := time.Now()
	l := &httpClients{host: strings.TrimPrefix(leader.API, "http://"), token: c.token, until: begin.Add(duration)}
	var workers sync.WaitGroup
	for i := range clients {
		workers.Go(func() {
			if err := l.work(ctx, kind, fmt.Sprintf("http-%d", i)); err != nil {
				l.mu.Lock()
				l.failure = cmp.Or(l.failure, err) // the first tells why
				l.mu.Unlock()
			}
		})
	}
	workers.Wait()
	return rate(name+", "+plural(clients, "client"), "ops/s", l.latencies, time.Since(begin)), l.failure
}

func (l *httpClients) work(ctx context.Context, kind, pod string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.host)
	if err != nil {
		return fmt.Errorf("%w: %w", errHTTPLoad, err)
	}
	defer conn.Close()
	h := &httpClient{httpClients: l, conn: conn, in: bufio.NewReader(conn)}
	defer func() {
		l.mu.Lock()
		l.latencies = append(l.latencies, h.latencies...)
		l.mu.Unlock()
	}()
	allocate := h.request(http.MethodPost, "/v1/allocations",
		fmt.Sprintf(`{"namespace":"bench","pod":%q,"podUid":"%s-uid","keys":1}`, pod, pod))
	read := h.request(http.MethodGet, "/v1/allocations/bench/"+readPod+"?consistency="+kind, "")
	for time.Now().Before(l.until) {
		if kind != loadWrites {
			if _, err := h.timed(read, http.StatusOK); err != nil {
				return err
			}
			continue
		}
		body, err := h.timed(allocate, http.StatusOK)
		if err != nil {
			return err
		}
		fence, err := fenceOf(body)
		if err != nil {
			return err
		}
		if _, err := h.timed(h.request(http.MethodDelete, "/v1/allocations/bench/"+pod+"?fence="+fence, ""), http.StatusNoContent); err != nil {
			return err
		}
	}
	return nil
}

// readPod is the pod that reads ask for.
const readPod = "read"

// fenceOf reads the one number that is needed of an answer.
func fenceOf(body []byte) (string, error) {
	_, rest, _ := bytes.Cut(body, []byte(`"fence":`))
	end := bytes.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end <= 0 {
		return "", fmt.Errorf("%w: no fence in %s", errHTTPLoad, body)
	}
	return string(rest[:end]), nil
}

// httpClient is one of them.
type httpClient struct {
	*httpClients

	conn      net.Conn
	in        *bufio.Reader
	body      []byte // of the last answer
	latencies []time.Duration
}

func (h *httpClient) request(method, path, body string) []byte {
	r := method + " " + path + " HTTP/1.1\r\nHost: " + h.host + "\r\nAuthorization: Bearer " + h.token + "\r\n"
	if body != "" {
		r += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return []byte(r + "\r\n" + body)
}

// timed sends a request and returns the body of the answer, which is good until the next.
func (h *httpClient) timed(request []byte, want int) ([]byte, error) {
	begin := time.Now()
	if _, err := h.conn.Write(request); err != nil {
		return nil, fmt.Errorf("%w: %w", errHTTPLoad, err)
	}
	status, body, err := h.answer()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHTTPLoad, err)
	}
	h.latencies = append(h.latencies, time.Since(begin))
	if status != want {
		return nil, fmt.Errorf("%w: status %d: %s", errHTTPLoad, status, body)
	}
	return body, nil
}

var errAnswerForm = errors.New("the answer has another form than the API's have")

// answer reads what the API answers to these requests: a status line, headers, and a body
// of the length that they tell, or none.
func (h *httpClient) answer() (status int, body []byte, err error) {
	line, err := h.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err //nolint:wrapcheck // the caller wraps it
	}
	const version = "HTTP/1.1 "
	if len(line) < len(version)+3 || string(line[:len(version)]) != version {
		return 0, nil, errAnswerForm
	}
	if status, err = strconv.Atoi(string(line[len(version) : len(version)+3])); err != nil {
		return 0, nil, errAnswerForm
	}
	length := 0
	for {
		if line, err = h.in.ReadSlice('\n'); err != nil {
			return 0, nil, err //nolint:wrapcheck // the caller wraps it
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, nil, errAnswerForm
			}
		}
		if bytes.HasPrefix(line, []byte("Transfer-Encoding:")) {
			return 0, nil, errAnswerForm
		}
	}
	h.body = slices.Grow(h.body[:0], length)[:length]
	_, err = io.ReadFull(h.in, h.body)
	return status, h.body, err //nolint:wrapcheck // the caller wraps it
}
