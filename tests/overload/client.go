package main

// One connection that speaks S3, one request at a time, nothing sent twice.

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hafiz/tests/signature"
)

const (
	bucket = "overload"
	// A request without an answer after so long is a failure of the server, whatever the load.
	answerMax = 30 * time.Second
	dialMax   = 10 * time.Second
	// What the contents of objects repeat.
	patternBytes = 1 << 12
	// Error documents are short.
	documentMax = 1 << 20
)

var errWrong = errors.New("wrong bytes")

// The bytes of an object follow from its key and its size.
func content(key string, size int) io.Reader {
	return &repeated{pattern: pattern(key), left: size}
}

func pattern(key string) []byte {
	hash := fnv.New64a()
	hash.Write([]byte(key))
	state, bytes := hash.Sum64()|1, make([]byte, patternBytes)
	for at := 0; at < len(bytes); at += 8 {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		binary.LittleEndian.PutUint64(bytes[at:], state)
	}
	return bytes
}

type repeated struct {
	pattern  []byte
	at, left int
}

func (r *repeated) Read(into []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	count := copy(into[:min(len(into), r.left)], r.pattern[r.at:])
	r.at, r.left = (r.at+count)%len(r.pattern), r.left-count
	return count, nil
}

// Reads all of `body`, and complains unless it is the content of the key.
func verify(body io.Reader, key string, size int) error {
	read, expected := make([]byte, patternBytes), pattern(key)
	seen := 0
	for {
		count, err := io.ReadFull(body, read)
		if !bytes.Equal(read[:count], expected[:count]) {
			return fmt.Errorf("%w: %s near %d", errWrong, key, seen)
		}
		seen += count
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if seen != size {
		return fmt.Errorf("%w: %s has %d bytes instead of %d", errWrong, key, seen, size)
	}
	return nil
}

// A request about a key of the bucket, or the bucket itself. `size`: of the body of a PUT, and of the object in a GET.
type request struct {
	method string
	key    string
	query  url.Values
	size   int
}

// The request as it goes over the wire, without its body.
func (q request) signed(address string) *http.Request {
	path := "/" + bucket
	if q.key != "" {
		path += "/" + q.key
	}
	r := &http.Request{
		Method: q.method, URL: &url.URL{Scheme: "http", Host: address, Path: path, RawQuery: q.query.Encode()},
		Host: address, Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	signature.Sign(r, signature.Unsigned, time.Now())
	if q.method == http.MethodPut && q.size > 0 {
		r.Body, r.ContentLength = io.NopCloser(content(q.key, q.size)), int64(q.size)
	}
	return r
}

func (q request) head(address string) []byte {
	r := q.signed(address)
	r.Body = nil
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.Method, r.URL.RequestURI(), address)
	for name := range r.Header {
		fmt.Fprintf(&out, "%s: %s\r\n", name, r.Header.Get(name))
	}
	if q.method == http.MethodPut {
		fmt.Fprintf(&out, "Content-Length: %d\r\n", q.size)
	}
	out.WriteString("\r\n")
	return out.Bytes()
}

// What came of a request: "200", "closed" when the server closed the connection without an answer, or "503 without
// Retry-After", "no answer", "wrong bytes".
type outcome string

const (
	closed   outcome = "closed"
	noAnswer outcome = "no answer"
	cut      outcome = "cut"
	wrong    outcome = "wrong bytes"
)

func (o outcome) isGood() bool { return strings.HasPrefix(string(o), "2") }

// What a failure of the connection says of the server.
func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return "200"
	case errors.Is(err, errWrong):
		return wrong
	case errors.Is(err, os.ErrDeadlineExceeded):
		return noAnswer
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE):
		return closed
	default:
		return outcome("client: " + err.Error())
	}
}

type connection struct {
	address string
	socket  net.Conn
	reader  *bufio.Reader
}

func (c *connection) close() {
	if c.socket != nil {
		c.socket.Close()
		c.socket = nil
	}
}

// One request and its whole answer. Connects when it has to; what the connection was closed with is the outcome.
func (c *connection) do(q request) outcome {
	if c.socket == nil {
		socket, err := net.DialTimeout("tcp", c.address, dialMax)
		if err != nil {
			return outcomeOf(err)
		}
		c.socket, c.reader = socket, bufio.NewReaderSize(socket, 16<<10)
	}
	c.socket.SetDeadline(time.Now().Add(answerMax))
	r := q.signed(c.address)
	// A refusal may come before all of the body was taken: the answer is read all the same.
	writeErr := r.Write(c.socket)
	answer, err := http.ReadResponse(c.reader, r)
	if err != nil {
		c.close()
		return outcomeOf(err)
	}
	found := read(answer, q)
	if answer.Close || writeErr != nil || !found.isGood() && !strings.HasPrefix(string(found), "503") {
		c.close()
	}
	return found
}

func read(answer *http.Response, q request) outcome {
	defer answer.Body.Close()
	if q.method == http.MethodGet && q.key != "" && answer.StatusCode == http.StatusOK {
		if err := verify(answer.Body, q.key, q.size); err != nil {
			if found := outcomeOf(err); found != closed {
				return found
			}
			return cut
		}
		return "200"
	}
	document, err := io.ReadAll(io.LimitReader(answer.Body, documentMax))
	if err != nil {
		return cut
	}
	return named(answer, document)
}

func named(answer *http.Response, document []byte) outcome {
	status := strconv.Itoa(answer.StatusCode)
	switch {
	case answer.StatusCode == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") == "":
		return "503 without Retry-After"
	case answer.StatusCode == http.StatusServiceUnavailable && !bytes.Contains(document, []byte("<Code>SlowDown</Code>")):
		return "503 without SlowDown"
	case answer.StatusCode == http.StatusBadRequest && bytes.Contains(document, []byte("<Code>RequestTimeout</Code>")):
		// As AWS puts what is elsewhere 408.
		return "408"
	}
	return outcome(status)
}
