package main

// Clients that cost a server more than they ought to: idle, slow, greedy.

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// What a slow client sends or reads at a time, and how often. Above the least rate that the server always allows.
	slowBytes = 512
	slowPause = 200 * time.Millisecond
	// Connections are made a few at a time: it is not the kernel's queue that is under test.
	dialsAtATime = 64
	// When a hostile client comes again whose connection has ended.
	againPause = time.Second
	// When an idle client that was closed or refused comes again.
	idlePause = 5 * time.Second
	// Requests of one pipeline, sent without reading an answer.
	pipelined = 200
	// A head beyond every limit.
	hugeHeadBytes = 256 << 10
)

// What hostile clients were told, and how they ended.
type tally struct {
	mutex    sync.Mutex
	outcomes map[outcome]int
	opened   atomic.Int64
}

func newTally() *tally { return &tally{outcomes: map[outcome]int{}} }

func (t *tally) add(o outcome) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.outcomes[o]++
}

// A crowd does one thing again and again on connections of its own until it is told to end.
type crowd struct {
	address string
	tally   *tally
	dials   chan struct{}
	ending  chan struct{}
	working sync.WaitGroup
}

func newCrowd(address string) *crowd {
	return &crowd{address: address, tally: newTally(), dials: make(chan struct{}, dialsAtATime), ending: make(chan struct{})}
}

func (c *crowd) hasToEnd() bool {
	select {
	case <-c.ending:
		return true
	default:
		return false
	}
}

// False when the time has come to end.
func (c *crowd) pause(duration time.Duration) bool {
	select {
	case <-c.ending:
		return false
	case <-time.After(duration):
		return true
	}
}

func (c *crowd) end() map[outcome]int {
	close(c.ending)
	c.working.Wait()
	return c.tally.outcomes
}

// `count` clients that behave so. Each comes back after its connection has ended.
func (c *crowd) join(count int, behave func(*crowd, net.Conn, *rand.Rand) outcome) {
	for n := range count {
		c.working.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), uint64(count)))
			for !c.hasToEnd() {
				c.dials <- struct{}{}
				socket, err := net.DialTimeout("tcp", c.address, dialMax)
				<-c.dials
				if err != nil {
					if found := outcomeOf(err); found != noAnswer {
						c.tally.add(found)
					}
				} else {
					c.tally.opened.Add(1)
					found := behave(c, socket, rng)
					socket.Close()
					if !c.hasToEnd() {
						c.tally.add(found)
					}
				}
				c.pause(againPause)
			}
		})
	}
}

// What the server said on its own account, or that it closed the connection.
func lastWord(socket net.Conn) outcome {
	return answerOf(bufio.NewReader(socket), request{})
}

func answerOf(reader *bufio.Reader, q request) outcome {
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		return outcomeOf(err)
	}
	return read(answer, q)
}

// Waits for the server's last word, or for the end.
func await(c *crowd, socket net.Conn) outcome {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-c.ending:
			socket.SetDeadline(time.Now())
		case <-done:
		}
	}()
	return lastWord(socket)
}

// Says nothing at all, and does not come again at once.
func idle(c *crowd, socket net.Conn, _ *rand.Rand) outcome {
	found := await(c, socket)
	c.pause(idlePause)
	return found
}

// Is never done with its head.
func slowHead(c *crowd, socket net.Conn, rng *rand.Rand) outcome {
	line := fmt.Sprintf("GET /%s/small/0 HTTP/1.1\r\nHost: %s\r\nX-Slow: ", bucket, c.address)
	if _, err := io.WriteString(socket, line); err != nil {
		return outcomeOf(err)
	}
	for c.pause(slowPause + time.Duration(rng.Int64N(int64(slowPause)))) {
		if _, err := socket.Write([]byte{'x'}); err != nil {
			break
		}
	}
	return lastWordNow(socket)
}

// What is there to be read after a write failed.
func lastWordNow(socket net.Conn) outcome {
	socket.SetReadDeadline(time.Now().Add(slowPause))
	found := lastWord(socket)
	if found == noAnswer {
		return closed
	}
	return found
}

// Sends a large body so slowly that it takes half an hour.
func slowBody(c *crowd, socket net.Conn, rng *rand.Rand) outcome {
	return sendSlowly(c, socket, rng, largeBytes)
}

// The same with a body that is stored with its record.
func slowSmallBody(c *crowd, socket net.Conn, rng *rand.Rand) outcome {
	return sendSlowly(c, socket, rng, 32<<10)
}

func sendSlowly(c *crowd, socket net.Conn, rng *rand.Rand, size int) outcome {
	q := request{method: http.MethodPut, key: fmt.Sprintf("slow/%d", rng.IntN(1000)), size: size}
	if _, err := socket.Write(q.head(c.address)); err != nil {
		return lastWordNow(socket)
	}
	body, piece := content(q.key, q.size), make([]byte, slowBytes)
	for c.pause(slowPause) {
		count, err := body.Read(piece)
		if err == io.EOF {
			break
		}
		if _, err := socket.Write(piece[:count]); err != nil {
			break
		}
	}
	return lastWordNow(socket)
}

// Asks for large objects and takes them in sips.
func slowReader(c *crowd, socket net.Conn, rng *rand.Rand) outcome {
	// The kernel's own buffers would take the whole object.
	if tcp, is := socket.(*net.TCPConn); is {
		tcp.SetReadBuffer(4 << 10)
	}
	q := request{method: http.MethodGet, key: fmt.Sprintf("huge/%d", rng.IntN(hugeObjects)), size: hugeBytes}
	if _, err := socket.Write(q.head(c.address)); err != nil {
		return outcomeOf(err)
	}
	sip := make([]byte, slowBytes)
	var begun []byte
	for c.pause(slowPause) {
		socket.SetReadDeadline(time.Now().Add(answerMax))
		count, err := socket.Read(sip)
		if len(begun) < 16 {
			begun = append(begun, sip[:count]...)
		}
		if err != nil && bytes.HasPrefix(begun, []byte("HTTP/1.1 503")) {
			return "503"
		}
		if err != nil {
			return outcomeOf(err)
		}
	}
	return closed
}

// Asks for something and says at once that it will say nothing more.
func halfClosed(c *crowd, socket net.Conn, rng *rand.Rand) outcome {
	q := request{method: http.MethodGet, key: fmt.Sprintf("small/%d", rng.IntN(smallObjects)), size: smallBytes}
	if _, err := socket.Write(q.head(c.address)); err != nil {
		return outcomeOf(err)
	}
	if tcp, is := socket.(*net.TCPConn); is {
		tcp.CloseWrite()
	}
	socket.SetReadDeadline(time.Now().Add(answerMax))
	return answerOf(bufio.NewReader(socket), q)
}

// Sends many requests without reading an answer, then reads nothing at all.
func pipeline(c *crowd, socket net.Conn, rng *rand.Rand) outcome {
	q := request{method: http.MethodGet, key: fmt.Sprintf("small/%d", rng.IntN(smallObjects)), size: smallBytes}
	head := q.head(c.address)
	socket.SetWriteDeadline(time.Now().Add(time.Second))
	for range pipelined {
		if _, err := socket.Write(head); err != nil {
			break
		}
	}
	c.pause(time.Second)
	return lastWordNow(socket)
}

// Sends more headers than anyone needs, in number or in length.
func hugeHead(c *crowd, socket net.Conn, rng *rand.Rand) outcome {
	head := "GET / HTTP/1.1\r\nHost: x\r\n"
	if rng.IntN(2) == 0 {
		head += strings.Repeat("X-Many: x\r\n", hugeHeadBytes/11)
	} else {
		head += "X-Long: " + strings.Repeat("x", hugeHeadBytes)
	}
	socket.SetDeadline(time.Now().Add(answerMax))
	// The refusal comes long before all of it was sent.
	if _, err := io.WriteString(socket, head+"\r\n\r\n"); err != nil {
		return lastWordNow(socket)
	}
	return lastWord(socket)
}

// Connects and leaves: in order, or with a reset.
func churn(_ *crowd, socket net.Conn, rng *rand.Rand) outcome {
	if tcp, is := socket.(*net.TCPConn); is && rng.IntN(2) == 0 {
		tcp.SetLinger(0)
	}
	if rng.IntN(2) == 0 {
		io.WriteString(socket, "GET /livez HTTP/1.1\r\n")
	}
	return closed
}

// Asks for the health of the server on a connection of its own, again and again; counts the answers.
func watchHealth(c *crowd, answers *tally) {
	c.working.Go(func() {
		for !c.hasToEnd() {
			for _, path := range []string{"/livez", "/readyz"} {
				answers.add(ask(c.address, path))
			}
			c.pause(50 * time.Millisecond)
		}
	})
}

func ask(address, path string) outcome {
	socket, err := net.DialTimeout("tcp", address, dialMax)
	if err != nil {
		return outcomeOf(err)
	}
	defer socket.Close()
	socket.SetDeadline(time.Now().Add(answerMax))
	if _, err := fmt.Fprintf(socket, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path); err != nil {
		return outcomeOf(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(socket), nil)
	if err != nil {
		return outcomeOf(err)
	}
	answer.Body.Close()
	return outcome(fmt.Sprint(answer.StatusCode))
}

// Raises this process's own limit as far as it goes.
func raiseFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	limit.Cur = limit.Max
	return limit.Cur, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}
