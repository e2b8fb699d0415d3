package main

// The clients: each sends one operation after the other on some key and records what came of it.

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	inline = 32 << 10
	mib    = 1 << 20
	// After a connection broke although nobody killed the server.
	brokenPause = 10 * time.Millisecond
	setUpMax    = 30 * time.Second
	// The number of a value that no attempt wrote.
	strangeID = -1
)

// Sizes of bodies: none, tiny, around the largest small one, one stripe, several.
var sizes = []int{0, 1, 20, 20, 300, 300, 4000, 4000, inline - 1, inline, inline + 1, 100_000, 300_000, mib + 1}

// Bodies that are copied onto keys; what they hold never changes.
var sourceSizes = []int{0, 300, inline + 1, 300_000}

// Which server is asked now. Clients wait here while there is none.
type endpoint struct {
	mutex sync.Mutex
	up    *sync.Cond
	port  int
	// When each start was seen to listen, before any client learnt of it.
	listening []int64
	isUp      bool
	isOver    bool
}

func newEndpoint() *endpoint {
	made := &endpoint{}
	made.up = sync.NewCond(&made.mutex)
	return made
}

func (e *endpoint) set(port int, now int64) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.port, e.isUp = port, true
	e.listening = append(e.listening, now)
	e.up.Broadcast()
}

func (e *endpoint) clear() {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.isUp = false
}

func (e *endpoint) end() {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.isOver = true
	e.up.Broadcast()
}

// The port of the server that is up, and the number of its start. False: the run is over.
func (e *endpoint) wait() (port, start int, ok bool) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	for !e.isUp && !e.isOver {
		e.up.Wait()
	}
	return e.port, len(e.listening) - 1, !e.isOver
}

func (e *endpoint) isStillUp(start int) bool {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.isUp && start == len(e.listening)-1
}

// What was written under each number, to compare what is read.
type ledger struct {
	next   atomic.Int64
	bodies sync.Map
}

type written struct {
	seed string
	size int
	etag string
}

// A new value for a key, of a size of its own or equal to a source.
func (l *ledger) value(key string, size int) (value, []byte) {
	id := l.next.Add(1)
	seed := fmt.Sprintf("%s|%d", key, id)
	body := bodyOf(seed, size)
	etag := etagOf(body)
	l.bodies.Store(id, written{seed, size, etag})
	return value{id, etag}, body
}

func (l *ledger) copyOf(source int) value {
	id := l.next.Add(1)
	seed, size := sourceKey(source), sourceSizes[source]
	etag := etagOf(bodyOf(seed, size))
	l.bodies.Store(id, written{seed, size, etag})
	return value{id, etag}
}

func sourceKey(source int) string {
	return fmt.Sprintf("source/%d", source)
}

// `size` bytes that follow from the seed and begin with it, so that a body in a wrong place names itself.
func bodyOf(seed string, size int) []byte {
	body := make([]byte, max(size, len(seed)+1))
	copy(body, seed+"\n")
	var key [32]byte
	copy(key[:], seed)
	rand.NewChaCha8(key).Read(body[len(seed)+1:])
	return body[:size]
}

type client struct {
	number   int
	rng      *rand.Rand
	keys     *slots
	history  *history
	endpoint *endpoint
	ledger   *ledger
	connection
	// The ETag last seen of each slot's key, for If-Match.
	seen map[int]string
}

func (c *client) run() {
	defer c.close()
	for {
		port, start, ok := c.endpoint.wait()
		if !ok {
			return
		}
		slot := c.rng.IntN(len(c.keys.keys))
		c.one(port, start, slot, c.keys.take(slot))
	}
}

// One operation, from the choice to the record.
func (c *client) one(port, start, slot int, key string) {
	in, q := c.choose(slot, key)
	c.perform(port, start, key, in, q, func(seen value) { c.seen[slot] = seen.Etag })
}

func (c *client) choose(slot int, key string) (input, request) {
	dice := c.rng.IntN(100)
	switch {
	case dice < 30:
		return input{Kind: get}, request{method: "GET", key: key}
	case dice < 42:
		return input{Kind: head}, request{method: "HEAD", key: key}
	case dice < 54:
		return input{Kind: del}, request{method: "DELETE", key: key}
	case dice < 62:
		source := c.rng.IntN(len(sourceSizes))
		in := input{Kind: copyTo, Writes: c.ledger.copyOf(source)}
		return in, request{method: "PUT", key: key, headers: map[string]string{
			"x-amz-copy-source": "/" + bucket + "/" + sourceKey(source), "x-amz-metadata-directive": "REPLACE",
			"x-amz-meta-id": strconv.FormatInt(in.Writes.ID, 10),
		}}
	}
	size := sizes[c.rng.IntN(len(sizes))]
	in := input{Kind: put}
	var body []byte
	in.Writes, body = c.ledger.value(key, size)
	headers := map[string]string{"x-amz-meta-id": strconv.FormatInt(in.Writes.ID, 10)}
	switch {
	case dice < 75:
	case dice < 86 || c.seen[slot] == "":
		in.Condition = ifAbsent
		headers["If-None-Match"] = "*"
	default:
		in.Condition, in.Match = ifMatch, c.seen[slot]
		headers["If-Match"] = in.Match
	}
	return in, request{method: "PUT", key: key, headers: headers, body: body}
}

// Sends, judges the answer and records it. `saw` is told what the key held at some moment of the operation.
func (c *client) perform(port, start int, key string, in input, q request, saw func(value)) {
	each := operation{Client: c.number, Start: start, In: in}
	err := c.open(port, start)
	if err != nil || !c.endpoint.isStillUp(start) {
		// Another start may have got the same port: to which one the connection leads would not be known.
		c.close()
		c.broken(start)
		return
	}
	each.Call = c.history.now()
	reply, err := c.send(q)
	each.Return = c.history.now()
	if err != nil {
		each.Out.Outcome = unknown
		c.broken(start)
	} else {
		each.Out = c.judge(key, in, reply)
	}
	c.history.add(key, each)
	if each.Out.Outcome == done {
		if in.Kind <= head {
			saw(each.Out.Reads)
		} else {
			saw(in.Writes)
		}
	}
}

func (c *client) broken(start int) {
	if c.endpoint.isStillUp(start) {
		c.history.count("broken while up")
		time.Sleep(brokenPause)
	}
}

func (c *client) judge(key string, in input, reply answer) output {
	status := reply.status
	switch {
	case status == 500 || status == 502 || status == 503 || status == 504:
		c.history.count(strconv.Itoa(status))
		return output{Outcome: unknown}
	case status == 507 || status == 409 || status == 429 || status == 408:
		c.history.count(strconv.Itoa(status))
		return output{Outcome: nothing}
	case in.Kind <= head && status == 404:
		return output{Outcome: done}
	case in.Kind <= head && status == 200:
		return output{Outcome: done, Reads: c.read(key, in, reply)}
	case in.Kind == del && status == 204:
		return output{Outcome: done}
	case in.Kind == copyTo && status == 200 && bytes.Contains(reply.body, []byte("<Error>")):
		return output{Outcome: unknown}
	case (in.Kind == put || in.Kind == copyTo) && status == 200:
		if in.Kind == put && reply.etag != in.Writes.Etag {
			c.history.problem("put %s: ETag %s, that of the body is %s", key, reply.etag, in.Writes.Etag)
		}
		return output{Outcome: done}
	case in.Condition != always && status == 412:
		return output{Outcome: failed}
	case in.Condition == ifMatch && status == 404:
		return output{Outcome: absent}
	}
	c.history.problem("%s %s: unexpected answer %d %.300s", kindNames[in.Kind], key, status, reply.body)
	return output{Outcome: unknown}
}

// What was read, and whether it is whole: the number, the ETag and every byte belong together.
func (c *client) read(key string, in input, reply answer) value {
	id, err := strconv.ParseInt(reply.id, 10, 64)
	found, ok := c.ledger.bodies.Load(id)
	if err != nil || !ok {
		return value{strangeID, reply.etag}
	}
	expected := found.(written)
	isOfKey := strings.HasPrefix(expected.seed, key+"|") || strings.HasPrefix(expected.seed, "source/")
	if !isOfKey || reply.etag != expected.etag {
		const text = "torn: %s %s: number %d with ETag %s, that has %s"
		c.history.problem(text, kindNames[in.Kind], key, id, reply.etag, expected.etag)
	} else if in.Kind == get && !bytes.Equal(reply.body, bodyOf(expected.seed, expected.size)) {
		const text = "torn: get %s: not the bytes of number %d: %d bytes that begin %.60q"
		c.history.problem(text, key, id, len(reply.body), reply.body)
	}
	return value{id, reply.etag}
}

// Makes the bucket and the sources; asks again until a deadline, since a server may be busy at first.
func setUp(port int) error {
	c := connection{}
	defer c.close()
	deadline := time.Now().Add(setUpMax)
	requests := []request{{method: "PUT", body: []byte{}}}
	for n, size := range sourceSizes {
		requests = append(requests, request{method: "PUT", key: sourceKey(n), body: bodyOf(sourceKey(n), size)})
	}
	for _, q := range requests {
		for {
			reply := answer{}
			err := c.open(port, 0)
			if err == nil {
				reply, err = c.send(q)
			}
			if err == nil && reply.status == 200 {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("set up %q: %v %d %.300s", q.key, err, reply.status, reply.body)
			}
			time.Sleep(brokenPause)
		}
	}
	return nil
}
