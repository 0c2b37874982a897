package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// httpClients put the API under load, each over a connection of its own. They speak
// HTTP/1.1 plainly: Go's client takes more of two cores than the nodes do.
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
func fenceOf(body string) (string, error) {
	_, rest, _ := strings.Cut(body, `"fence":`)
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end <= 0 {
		return "", fmt.Errorf("%w: no fence in %s", errHTTPLoad, body)
	}
	return rest[:end], nil
}

// httpClient is one of them.
type httpClient struct {
	*httpClients

	conn net.Conn
	in   *bufio.Reader
}

func (h *httpClient) request(method, path, body string) []byte {
	r := method + " " + path + " HTTP/1.1\r\nHost: " + h.host + "\r\nAuthorization: Bearer " + h.token + "\r\n"
	if body != "" {
		r += fmt.Sprintf("Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return []byte(r + "\r\n" + body)
}

// timed sends a request and returns the body of the answer.
func (h *httpClient) timed(request []byte, want int) (string, error) {
	begin := time.Now()
	if _, err := h.conn.Write(request); err != nil {
		return "", fmt.Errorf("%w: %w", errHTTPLoad, err)
	}
	resp, err := http.ReadResponse(h.in, nil)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errHTTPLoad, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errHTTPLoad, err)
	}
	took := time.Since(begin)
	if resp.StatusCode != want {
		return "", fmt.Errorf("%w: status %d: %s", errHTTPLoad, resp.StatusCode, body)
	}
	h.mu.Lock()
	h.latencies = append(h.latencies, took)
	h.mu.Unlock()
	return string(body), nil
}
