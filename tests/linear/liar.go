package main

// A server that tells lies of one kind, now and then, and the test that each of them is caught.

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

type lie string

const (
	honest        lie = "nothing: an honest server passes"
	staleRead     lie = "a read of a value that was replaced"
	staleHead     lie = "a HEAD of a value that was replaced"
	lostUpdate    lie = "a write that was acknowledged and not done"
	lostDelete    lie = "a delete that was acknowledged and not done"
	neverWritten  lie = "a read of a value that was never written"
	bothWinners   lie = "two winners of If-None-Match"
	matchIgnored  lie = "a write whose If-Match did not hold"
	wronglyDenied lie = "a refusal although the condition held"
	tornBody      lie = "a body that is not the one of its number"
	forgetful     lie = "a start that forgets a late write"
	lateSurfacing lie = "a write that was cut off and comes to light two starts later"
	earlyVisible  lie = "a read of a write that the kill then undoes"
)

var lies = []lie{
	honest, staleRead, staleHead, lostUpdate, lostDelete, neverWritten, bothWinners, matchIgnored, wronglyDenied, tornBody,
	forgetful, lateSurfacing, earlyVisible,
}

const (
	// An answer comes within so long, so that requests overlap.
	liarLatencyMax = 4 * time.Millisecond
	// One in so many opportunities is used. Conditions on what a key holds come up seldom, and other writers hide much.
	liesOneIn     = 40
	rareLiesOneIn = 5
	recentMax     = 16
	// So few clients at each key that a lie shows: what others write at the same moment hides it, as it may.
	liarKeys = 8
	// A lie that nothing happens to show is told again in another run.
	attemptsMax     = 4
	liarCheckMax    = 5 * time.Second
	selfTestSeconds = 2
	notRight        = "NOT AS IT SHOULD"
)

type stored struct {
	body []byte
	id   string
}

type undo struct {
	key string
	old *stored
}

type liar struct {
	lie      lie
	mutex    sync.Mutex
	rng      *rand.Rand
	objects  map[string]*stored
	replaced map[string]*stored
	// The last writes, with what they replaced; for `forgetful`.
	recent []undo
	// Of writes that were cut off: a later start lets them happen.
	late   map[string]*stored
	older  map[string]*stored
	told   int
	start  int
	port   int
	front  *http.Server
	isDead bool
}

func newLiar(lie lie, seed uint64) *liar {
	return &liar{
		lie: lie, rng: rand.New(rand.NewPCG(seed, 1<<33)), objects: map[string]*stored{}, replaced: map[string]*stored{},
		late: map[string]*stored{}, older: map[string]*stored{},
	}
}

func (l *liar) describe() string { return string(l.lie) }
func (l *liar) remove(bool)      { l.kill() }

func (l *liar) wait() (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.port, nil
}

func (l *liar) launch() error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l.start++
	l.isDead = false
	start := l.start
	l.front = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.serve(start, w, r) }),
	}
	l.port = listener.Addr().(*net.TCPAddr).Port
	go l.front.Serve(listener)
	for key, each := range l.older {
		l.told++
		l.objects[key] = each
	}
	l.older, l.late = l.late, map[string]*stored{}
	return nil
}

func (l *liar) kill() error {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.isDead || l.front == nil {
		return nil
	}
	l.isDead = true
	if l.lie == forgetful && len(l.recent) == recentMax {
		// The oldest one: its answer has arrived.
		l.told++
		l.set(l.recent[0].key, l.recent[0].old)
		l.recent = nil
	}
	return l.front.Close()
}

func (l *liar) set(key string, object *stored) {
	l.replaced[key] = l.objects[key]
	if object == nil {
		delete(l.objects, key)
	} else {
		l.objects[key] = object
	}
}

func (l *liar) remember(key string, old *stored) {
	if l.recent = append(l.recent, undo{key, old}); len(l.recent) > recentMax {
		l.recent = l.recent[1:]
	}
}

// Whether this opportunity for a lie of this kind is used.
func (l *liar) tells(lie lie) bool {
	oneIn := liesOneIn
	if lie == matchIgnored || lie == wronglyDenied {
		oneIn = rareLiesOneIn
	}
	if l.lie != lie || l.rng.IntN(oneIn) != 0 {
		return false
	}
	l.told++
	return true
}

func (l *liar) serve(start int, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	l.mutex.Lock()
	before, after := l.rng.Int64N(int64(liarLatencyMax)), l.rng.Int64N(int64(liarLatencyMax))
	l.mutex.Unlock()
	time.Sleep(time.Duration(before))
	key := strings.TrimPrefix(r.URL.Path, "/"+bucket)
	status, object := l.act(start, key, body, r)
	time.Sleep(time.Duration(after))
	if status == 0 {
		panic(http.ErrAbortHandler)
	}
	if object != nil {
		w.Header().Set("ETag", etagOf(object.body))
		if r.Method != "PUT" {
			w.Header().Set("x-amz-meta-id", object.id)
			w.Header().Set("Content-Length", strconv.Itoa(len(object.body)))
		}
	}
	w.WriteHeader(status)
	if r.Method == "GET" && object != nil {
		w.Write(object.body)
	}
}

// The moment in which a request happens. Status 0: the connection is cut.
func (l *liar) act(start int, key string, body []byte, r *http.Request) (int, *stored) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.isDead || start != l.start {
		return 0, nil
	}
	old := l.objects[key]
	switch r.Method {
	case "GET", "HEAD":
		return l.read(key, old, r.Method)
	case "DELETE":
		if old == nil || !l.tells(lostDelete) {
			l.set(key, nil)
			l.remember(key, old)
		}
		return 204, nil
	}
	if status := l.refuse(old, r); status != 0 {
		return status, nil
	}
	if from := strings.TrimPrefix(r.Header.Get("x-amz-copy-source"), "/"+bucket); from != "" {
		body = l.objects[from].body
	}
	made := &stored{body, r.Header.Get("x-amz-meta-id")}
	switch {
	case strings.HasPrefix(key, "/source/"):
	case l.tells(lostUpdate):
		return 200, made
	case l.lie == lateSurfacing && len(l.late) == 0 && l.rng.IntN(liesOneIn) == 0:
		l.late[key] = made
		return 0, nil
	}
	l.set(key, made)
	l.remember(key, old)
	return 200, made
}

func (l *liar) read(key string, old *stored, method string) (int, *stored) {
	was := l.replaced[key]
	isStale := was != nil && was != old && (method == "GET" && l.tells(staleRead) || method == "HEAD" && l.tells(staleHead))
	switch {
	case isStale:
		return 200, was
	case old == nil:
		return 404, nil
	case l.tells(neverWritten):
		return 200, &stored{old.body, "4611686018427387904"}
	case method == "GET" && len(old.body) > 0 && l.tells(tornBody):
		torn := append([]byte{}, old.body...)
		torn[len(torn)-1] ^= 1
		return 200, &stored{torn, old.id}
	case was != nil && l.tells(earlyVisible):
		// What was just read is undone.
		l.objects[key] = was
	}
	return 200, old
}

// 412 and 404 of conditions that do not hold; 0 when they hold, or when a lie says so.
func (l *liar) refuse(old *stored, r *http.Request) int {
	match := r.Header.Get("If-Match")
	switch {
	case r.Header.Get("If-None-Match") != "":
		if old != nil && !l.tells(bothWinners) {
			return 412
		}
	case match == "":
		return 0
	case old == nil:
		return 404
	case etagOf(old.body) != match:
		if !l.tells(matchIgnored) {
			return 412
		}
	case l.tells(wronglyDenied):
		return 412
	}
	return 0
}

// Each lie must be told and caught, and the honest server must pass. How many were not as they should.
func selfTest(s settings, seed uint64) int {
	s.seconds, s.killMin, s.killMax = selfTestSeconds*time.Second, 100*time.Millisecond, 400*time.Millisecond
	s.keys, s.checkTimeout = liarKeys, liarCheckMax
	failed := 0
	for _, lie := range lies {
		said := notRight
		for attempt := range uint64(attemptsMax) {
			server := newLiar(lie, seed+attempt)
			found, err := run(s, server, seed+attempt)
			server.remove(false)
			fmt.Printf("    told %d times: %s\n", server.told, found.line())
			if err != nil {
				fmt.Println("    error:", err)
				break
			}
			if lie == honest {
				if found.isGood() && found.restarts > 1 && found.unknown > 0 {
					said = "as it should"
				}
				break
			}
			if server.told > 0 && isCaught(lie, found) {
				said = "caught"
				if err := canReport(found); err != nil {
					said = notRight
					fmt.Println("    the report cannot be written:", err)
				}
				break
			}
		}
		if said == notRight {
			failed++
		}
		fmt.Printf("linear self-test: %s: %s\n", lie, said)
	}
	fmt.Printf("linear self-test: %d passed, %d failed\n", len(lies)-failed, failed)
	return failed
}

func isCaught(lie lie, found *result) bool {
	if lie == tornBody {
		return len(found.history.problems) > 0
	}
	return len(found.violations) > 0
}

// Whether each violation gets its history and its picture.
func canReport(found *result) error {
	folder, err := os.MkdirTemp("", "hafiz-linear-report-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := report(folder, found.history, found.violations, found.undecided); err != nil {
		return err
	}
	pictures, err := filepath.Glob(filepath.Join(folder, "*.html"))
	if err == nil && len(pictures) != len(found.violations) {
		err = fmt.Errorf("%d pictures of %d violations", len(pictures), len(found.violations))
	}
	return err
}
