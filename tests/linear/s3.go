package main

// One connection that speaks S3: Signature V4, one request at a time, and nothing is ever sent twice. net/http's own
// client is not used, since it repeats requests by itself when a kept connection breaks.

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"hafiz/tests/signature"
)

const (
	bucket = "linear"
	// A request without an answer after so long has an unknown outcome.
	answerMax = 10 * time.Second
	dialMax   = 5 * time.Second
	// Largest body that is read back.
	bodyMax = 4 << 20
)

// A request about a key of the bucket. `key` needs no encoding; empty: the bucket itself.
type request struct {
	method  string
	key     string
	headers map[string]string
	body    []byte
}

type answer struct {
	status int
	etag   string
	id     string
	body   []byte
}

// The ETag, in quotes, of a body that was put in one piece.
func etagOf(body []byte) string {
	sum := md5.Sum(body)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// A connection that is made when it is needed and closed after any trouble.
type connection struct {
	start  int
	port   int
	socket net.Conn
	reader *bufio.Reader
}

func (c *connection) close() {
	if c.socket != nil {
		c.socket.Close()
		c.socket = nil
	}
}

// Connects unless there is a connection to this start of the server. After an error nothing was sent.
func (c *connection) open(port, start int) error {
	if c.socket != nil && c.start == start {
		return nil
	}
	c.close()
	socket, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), dialMax)
	if err != nil {
		return err
	}
	c.port, c.start, c.socket, c.reader = port, start, socket, bufio.NewReader(socket)
	return nil
}

// Sends one request over the open connection and reads all of its answer. After an error the outcome is unknown.
func (c *connection) send(q request) (answer, error) {
	reply, err := c.exchange(q)
	if err != nil {
		c.close()
	}
	return reply, err
}

func (c *connection) exchange(q request) (answer, error) {
	host := fmt.Sprintf("127.0.0.1:%d", c.port)
	path := "/" + bucket
	if q.key != "" {
		path += "/" + q.key
	}
	r := &http.Request{
		Method: q.method, URL: &url.URL{Scheme: "http", Host: host, Path: path}, Host: host,
		Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	for name, value := range q.headers {
		r.Header.Set(name, value)
	}
	signature.Sign(r, signature.Hash(q.body), time.Now())
	if len(q.body) > 0 {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(q.body)), int64(len(q.body))
	}
	if err := c.socket.SetDeadline(time.Now().Add(answerMax)); err != nil {
		return answer{}, err
	}
	// A refusal may come before all of the body was taken: the answer is read all the same.
	writeErr := r.Write(c.socket)
	response, err := http.ReadResponse(c.reader, r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyMax))
	if err != nil {
		return answer{}, err
	}
	if response.Close || writeErr != nil {
		c.close()
	}
	head := response.Header
	return answer{status: response.StatusCode, etag: head.Get("ETag"), id: head.Get("x-amz-meta-id"), body: body}, nil
}
