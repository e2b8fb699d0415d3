package main

// One run: a server, clients, kills and starts, one last look at every key, and the checker.

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Kills of one start while it recovers.
const recoveryKillsMax = 2

type settings struct {
	seconds      time.Duration
	clients      int
	keys         int
	rotate       time.Duration
	opsMax       int
	checkTimeout time.Duration
	killMin      time.Duration
	killMax      time.Duration
}

type result struct {
	history    *history
	violations []verdict
	undecided  []verdict
	restarts   int
	inRecovery int
	unknown    int
	recorded   int
	longest    int
	checking   time.Duration
}

func (r *result) isGood() bool {
	return len(r.violations) == 0 && len(r.undecided) == 0 && len(r.history.problems) == 0
}

func (r *result) line() string {
	counts := r.history.counts
	return fmt.Sprintf("%d operations (%d get, %d head, %d put, %d copy, %d delete), %d unknown outcomes, %d refused by "+
		"condition, %d 500, %d 503, %d broken while up; %d restarts, %d kills in recovery; %d keys, longest history %d, "+
		"checked in %.1f s: %d violations, %d undecided, %d other problems",
		r.recorded, counts["get"], counts["head"], counts["put"], counts["copy"], counts["delete"], r.unknown,
		counts["412"]+counts["404"], counts["500"], counts["503"], counts["broken while up"], r.restarts, r.inRecovery,
		len(r.history.keys), r.longest, r.checking.Seconds(), len(r.violations), len(r.undecided), len(r.history.problems))
}

type killer struct {
	settings settings
	server   server
	endpoint *endpoint
	history  *history
	rng      *rand.Rand
	result   *result
	// How long the last start took.
	startTime time.Duration
}

func (k *killer) between(least, most time.Duration) time.Duration {
	return least + time.Duration(k.rng.Int64N(int64(most-least)+1))
}

// Starts the server and tells the clients; kills it while it recovers, if `kills` says so.
func (k *killer) start(kills int) error {
	for range kills {
		if err := k.server.launch(); err != nil {
			return err
		}
		time.Sleep(k.between(0, k.startTime*11/10))
		if err := k.server.kill(); err != nil {
			return err
		}
		k.result.inRecovery++
	}
	began := time.Now()
	if err := k.server.launch(); err != nil {
		return err
	}
	port, err := k.server.wait()
	if err != nil {
		return err
	}
	k.startTime = time.Since(began)
	if k.result.restarts == 0 && len(k.endpoint.listening) == 0 {
		if err := setUp(port); err != nil {
			return err
		}
	}
	k.endpoint.set(port, k.history.now())
	return nil
}

func (k *killer) run() error {
	deadline := time.Now().Add(k.settings.seconds)
	for time.Now().Before(deadline) {
		time.Sleep(min(k.between(k.settings.killMin, k.settings.killMax), time.Until(deadline)))
		if err := k.restart(); err != nil {
			return err
		}
	}
	return nil
}

func (k *killer) restart() error {
	k.endpoint.clear()
	if err := k.server.kill(); err != nil {
		return err
	}
	kills := 0
	if k.rng.IntN(3) == 0 {
		kills = 1 + k.rng.IntN(recoveryKillsMax)
	}
	k.result.restarts++
	return k.start(kills)
}

// One run against a server that has not been started yet. An error: the server ended or refused by itself.
func run(s settings, server server, seed uint64) (*result, error) {
	h, e := newHistory(), newEndpoint()
	found := &result{history: h}
	k := &killer{settings: s, server: server, endpoint: e, history: h, rng: rand.New(rand.NewPCG(seed, 0)), result: found}
	k.startTime = s.killMin
	if err := k.start(0); err != nil {
		return found, err
	}
	keys, l := newSlots(s.keys, s.rotate, s.opsMax), &ledger{}
	made := make([]*client, s.clients)
	for n := range made {
		made[n] = &client{
			number: n, rng: rand.New(rand.NewPCG(seed, uint64(n+1))), keys: keys, history: h, endpoint: e, ledger: l,
			seen: map[int]string{},
		}
	}
	var working sync.WaitGroup
	for _, each := range made {
		working.Go(each.run)
	}
	err := k.run()
	e.end()
	working.Wait()
	if err != nil {
		return found, err
	}
	for range 2 {
		// Twice, with a start between: what comes back late, or goes late, is seen.
		if err := lastLook(made[0], keys); err != nil {
			return found, err
		}
		if err := k.restart(); err != nil {
			return found, err
		}
	}
	if err := lastLook(made[0], keys); err != nil {
		return found, err
	}
	e.clear()
	if err := server.kill(); err != nil {
		return found, err
	}
	found.tally(e.listening, s)
	return found, nil
}

func (r *result) tally(listening []int64, s settings) {
	h := r.history
	h.bound(listening)
	for _, operations := range h.keys {
		r.recorded += len(operations)
		r.longest = max(r.longest, len(operations))
		for _, each := range operations {
			if each.Out.Outcome == unknown {
				r.unknown++
			}
		}
	}
	began := time.Now()
	r.violations, r.undecided = check(h, s.checkTimeout)
	r.checking = time.Since(began)
}

// Reads every key of the run once more. Each must be readable: nobody else asks for anything now.
func lastLook(c *client, keys *slots) error {
	c.endpoint.mutex.Lock()
	port, start := c.endpoint.port, len(c.endpoint.listening)-1
	c.endpoint.mutex.Unlock()
	for n := range keys.keys {
		for generation := range keys.keys[n].generation + 1 {
			if err := c.lookAt(port, start, fmt.Sprintf("key%d/%d", n, generation)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *client) lookAt(port, start int, key string) error {
	deadline := time.Now().Add(setUpMax)
	for {
		is := false
		c.perform(port, start, key, input{Kind: get}, request{method: "GET", key: key}, func(value) { is = true })
		if is {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s cannot be read %v after the last start", key, setUpMax)
		}
		time.Sleep(brokenPause)
	}
}
