package main

// Load as clients bring it: a number of connections, each busy with one request at a time.

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	smallBytes = 4 << 10
	largeBytes = 1 << 20
	// Objects that are there before anything is measured.
	smallObjects = 64
	largeObjects = 16
	// As many as a phase adds, so that the first one finds what the later ones find: pages of listings come from tables.
	standingObjects = 20_000
	// More than the kernel's buffers of a connection take.
	hugeBytes   = 16 << 20
	hugeObjects = 2
	pageKeys    = 100
	// What a client waits that was told to slow down: far less than it was asked to.
	refusedPauseMin = 20 * time.Millisecond
	refusedPauseMax = 100 * time.Millisecond
)

// What a request is. Each kind has its own latencies: they have nothing to do with each other.
type kind int

const (
	smallPut kind = iota
	smallGet
	list
	largePut
	largeGet
	kinds
)

var kindNames = [kinds]string{"small PUT", "small GET", "LIST", "large PUT", "large GET"}

// Of a hundred requests.
var mix = [kinds]int{35, 55, 4, 3, 3}

// What was acknowledged: key to size.
type ledger struct {
	mutex sync.Mutex
	sizes map[string]int
}

func (l *ledger) add(key string, size int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.sizes[key] = size
}

// Of one operation, as the server counts it.
type latency struct {
	count int
	slow  time.Duration
}

// What a phase saw.
type measured struct {
	took     [kinds][]time.Duration
	outcomes map[outcome]int
	served   map[string]latency
}

func (m *measured) total() int {
	total := 0
	for _, count := range m.outcomes {
		total += count
	}
	return total
}

func (m *measured) good() int {
	good := 0
	for each, count := range m.outcomes {
		if each.isGood() {
			good += count
		}
	}
	return good
}

// The latency that `percent` of the admitted requests of a kind stay below.
func (m *measured) percentile(k kind, percent int) time.Duration {
	if len(m.took[k]) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(m.took[k]))
	return sorted[len(sorted)*percent/100]
}

func (m *measured) add(other *measured) {
	for k := range kinds {
		m.took[k] = append(m.took[k], other.took[k]...)
	}
	for each, count := range other.outcomes {
		m.outcomes[each] += count
	}
}

type client struct {
	name   string
	rng    *rand.Rand
	ledger *ledger
	puts   int
	connection
	measured
}

func (c *client) next() (kind, request) {
	drawn := c.rng.IntN(100)
	k := smallPut
	for drawn >= mix[k] {
		drawn -= mix[k]
		k++
	}
	c.puts++
	switch k {
	case smallPut:
		return k, request{method: http.MethodPut, key: fmt.Sprintf("put/%s/%d", c.name, c.puts), size: smallBytes}
	case smallGet:
		return k, request{method: http.MethodGet, key: fmt.Sprintf("small/%d", c.rng.IntN(smallObjects)), size: smallBytes}
	case list:
		query := url.Values{"list-type": {"2"}, "max-keys": {fmt.Sprint(pageKeys)}}
		return k, request{method: http.MethodGet, query: query}
	case largePut:
		// The same few keys again and again: space is bounded, and the last one acknowledged is as good as the others.
		return k, request{method: http.MethodPut, key: fmt.Sprintf("over/%s/%d", c.name, c.puts%2), size: largeBytes}
	case largeGet:
		return k, request{method: http.MethodGet, key: fmt.Sprintf("large/%d", c.rng.IntN(largeObjects)), size: largeBytes}
	case kinds:
	}
	panic("the shares of the mix sum to 100")
}

// Requests until the time is over. Refused ones are not repeated, after a pause other ones follow.
func (c *client) run(until time.Time) {
	for time.Now().Before(until) {
		k, q := c.next()
		began := time.Now()
		found := c.do(q)
		c.outcomes[found]++
		if found.isGood() {
			c.took[k] = append(c.took[k], time.Since(began))
			if q.method == http.MethodPut {
				c.ledger.add(q.key, q.size)
			}
			continue
		}
		pause := refusedPauseMin + time.Duration(c.rng.Int64N(int64(refusedPauseMax-refusedPauseMin)))
		time.Sleep(min(pause, max(0, time.Until(until))))
	}
	c.close()
}

// A phase of `count` clients.
func load(address, name string, seed uint64, count int, seconds time.Duration, l *ledger) *measured {
	clients, until := make([]*client, count), time.Now().Add(seconds)
	var working sync.WaitGroup
	for n := range clients {
		c := &client{name: fmt.Sprintf("%s-%d", name, n), rng: rand.New(rand.NewPCG(seed, uint64(n))), ledger: l}
		c.address, c.outcomes = address, map[outcome]int{}
		clients[n] = c
		working.Go(func() { c.run(until) })
	}
	working.Wait()
	all := &measured{outcomes: map[outcome]int{}}
	for _, c := range clients {
		all.add(&c.measured)
	}
	return all
}

// The bucket and the objects that are read.
func setUp(address string, l *ledger) error {
	c := connection{address: address}
	defer c.close()
	if found := c.do(request{method: http.MethodPut}); found != "200" {
		return fmt.Errorf("CreateBucket: %s", found)
	}
	put := func(name string, count, size int) error {
		for n := range count {
			key := fmt.Sprintf("%s/%d", name, n)
			if found := c.do(request{method: http.MethodPut, key: key, size: size}); found != "200" {
				return fmt.Errorf("PUT %s: %s", key, found)
			}
			l.add(key, size)
		}
		return nil
	}
	if err := put("small", smallObjects, smallBytes); err != nil {
		return err
	}
	if err := put("large", largeObjects, largeBytes); err != nil {
		return err
	}
	return put("huge", hugeObjects, hugeBytes)
}

// Does something for every key, by so many connections at once. What went wrong.
func spread(address string, connections int, keys iter.Seq[string], do func(*connection, string) error) []string {
	todo := make(chan string)
	var mutex sync.Mutex
	var problems []string
	var working sync.WaitGroup
	for range connections {
		working.Go(func() {
			c := connection{address: address}
			defer c.close()
			for key := range todo {
				if err := do(&c, key); err != nil {
					mutex.Lock()
					problems = append(problems, err.Error())
					mutex.Unlock()
				}
			}
		})
	}
	for key := range keys {
		todo <- key
	}
	close(todo)
	working.Wait()
	return problems
}

// Puts the objects that are there all along, by as many connections as at normal load. What went wrong.
func fill(address string, l *ledger) []string {
	keys := func(yield func(string) bool) {
		for n := 0; n < standingObjects && yield(fmt.Sprintf("standing/%d", n)); n++ {
		}
	}
	return spread(address, normalClients, keys, func(c *connection, key string) error {
		if found := c.do(request{method: http.MethodPut, key: key, size: smallBytes}); found != "200" {
			return fmt.Errorf("PUT %s: %s", key, found)
		}
		l.add(key, smallBytes)
		return nil
	})
}

// Reads everything back that was acknowledged. Returns what is wrong.
func readBack(address string, l *ledger) []string {
	const readers = 16
	return spread(address, readers, maps.Keys(l.sizes), func(c *connection, key string) error {
		if found := c.do(request{method: http.MethodGet, key: key, size: l.sizes[key]}); found != "200" {
			return fmt.Errorf("%s was acknowledged and cannot be read: %s", key, found)
		}
		return nil
	})
}
