// What client/go/larder.go does, on a real larderd. Each function is one case.
// LARDER_SERVER is a larderd that `run` stops, freezes and starts when this program asks it on stdout and waits for its answer
// on stdin; LARDER_OTHER is a second one, alone as well; LARDER_FLAKY is flaky_cache.py. Prints a line for each case; exits 1 if
// one fails.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"larder.example/polyglot/larder"
	pb "larder.example/polyglot/larderv1"
)

const (
	nobody  = "127.0.0.1:1"
	timeout = 10 * time.Second
	callers = 20
)

var (
	server, other, flaky = os.Getenv("LARDER_SERVER"), os.Getenv("LARDER_OTHER"), os.Getenv("LARDER_FLAKY")

	stdin   = bufio.NewReader(os.Stdin)
	errAway = errors.New("the source is away")
	brief   = larder.Options{Deadline: timeout}
	ctx     context.Context // of all cases; main makes it
	noFill  = larder.Fill{}
	loadOf  = func(text string) larder.Loader {
		return func(context.Context) ([]byte, error) { return []byte(text), nil }
	}
	loadNone = func(context.Context) ([]byte, error) { return nil, larder.ErrAbsent }
)

// A failed check ends its case by panicking with this.
type failure string

func expect(condition bool, format string, args ...any) {
	if !condition {
		panic(failure(fmt.Sprintf(format, args...)))
	}
}

func never(context.Context) ([]byte, error) {
	return nil, errors.New("the loader ran")
}

func tellRun(word string) {
	fmt.Println("@ " + word)
	answer, err := stdin.ReadString('\n')
	expect(err == nil && answer == "done\n", "run did not %s: %q %v", word, answer, err)
}

func newCache(options larder.Options, targets ...string) *larder.Cache {
	cache, err := larder.New(targets, options)
	expect(err == nil, "%v", err)
	return cache
}

func dial(address string) *grpc.ClientConn {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	expect(err == nil, "%v", err)
	return conn
}

// storedAt returns the hit of a key, or nil.
func storedAt(address, key string) *pb.Hit {
	conn := dial(address)
	defer conn.Close()
	answer, err := pb.NewCacheClient(conn).Get(ctx, &pb.GetRequest{Key: key})
	expect(err == nil, "%v", err)
	return answer.GetHit()
}

func waitForWaiters(key string, count uint32) {
	conn := dial(server)
	defer conn.Close()
	for until := time.Now().Add(timeout); ; {
		answer, err := pb.NewAdminClient(conn).Explain(ctx, &pb.ExplainRequest{Key: key})
		expect(err == nil, "%v", err)
		if answer.LeaseWaiters == count {
			return
		}
		expect(time.Now().Before(until), "%s never had %d waiters", key, count)
	}
}

// askAtOnce makes so many calls of GetOrLoad at once. It returns how many got `loaded`, how many errAway, and how often the
// loader ran. The first load ends when all have come.
func askAtOnce(caches []*larder.Cache, key string, fill larder.Fill, failFirst bool) (good, failed, loads int32) {
	var come, over sync.WaitGroup
	come.Add(callers)
	over.Add(callers)
	load := func(context.Context) ([]byte, error) {
		first := atomic.AddInt32(&loads, 1) == 1
		if first {
			come.Wait()
		}
		if first && failFirst {
			return nil, errAway
		}
		return []byte("loaded"), nil
	}
	for i := 0; i < callers; i++ {
		go func(cache *larder.Cache) {
			defer over.Done()
			come.Done()
			value, err := cache.GetOrLoad(ctx, key, fill, load)
			if err == nil && string(value) == "loaded" {
				atomic.AddInt32(&good, 1)
			} else if errors.Is(err, errAway) {
				atomic.AddInt32(&failed, 1)
			}
		}(caches[i%len(caches)])
	}
	over.Wait()
	return
}

func loadsOnceForTwentyCallers() {
	cache := newCache(brief, server)
	defer cache.Close()
	good, _, loads := askAtOnce([]*larder.Cache{cache}, "go:once", larder.Fill{TTL: time.Minute, Tags: []string{"go"}}, false)
	expect(good == callers && loads == 1, "%d good, %d loads", good, loads)
	hit := storedAt(server, "go:once")
	expect(string(hit.GetValue()) == "loaded" && reflect.DeepEqual(hit.Tags, []string{"go"}), "%v", hit)
	expect(hit.RemainingTtl.AsDuration() <= 66*time.Second, "%v", hit)
	value, err := cache.GetOrLoad(ctx, "go:once", noFill, never)
	expect(err == nil && string(value) == "loaded", "%q %v", value, err)
}

func loadsOnceForTwoProcesses() {
	one, two := newCache(brief, server), newCache(brief, server)
	defer one.Close()
	defer two.Close()
	waiting := make(chan string, 1)
	value, err := one.GetOrLoad(ctx, "go:two", noFill, func(context.Context) ([]byte, error) {
		go func() {
			value, err := two.GetOrLoad(ctx, "go:two", noFill, never)
			waiting <- fmt.Sprint(string(value), err)
		}()
		waitForWaiters("go:two", 1)
		return []byte("of one"), nil
	})
	expect(err == nil && string(value) == "of one", "%q %v", value, err)
	got := <-waiting
	expect(got == "of one<nil>", "the one that waits got %q", got)
}

func othersGoOnWhenALoaderFails() {
	one, two := newCache(brief, server), newCache(brief, server)
	defer one.Close()
	defer two.Close()
	good, failed, loads := askAtOnce([]*larder.Cache{one, two}, "go:fail", noFill, true)
	expect(good == callers-1 && failed == 1 && loads == 2, "%d good, %d failed, %d loads", good, failed, loads)
	expect(string(storedAt(server, "go:fail").GetValue()) == "loaded", "the second load is stored")
}

func givesTheLeaseBackWhenALoaderPanics() {
	cache := newCache(brief, server)
	defer cache.Close()
	func() {
		defer func() { expect(recover() == "out of range", "the panic goes on") }()
		cache.GetOrLoad(ctx, "go:panic", noFill, func(context.Context) ([]byte, error) { panic("out of range") })
	}()
	value, err := cache.GetOrLoad(ctx, "go:panic", noFill, loadOf("v"))
	expect(err == nil && string(value) == "v" && storedAt(server, "go:panic") != nil, "%q %v", value, err)
}

func letsACallerGo() {
	cache := newCache(brief, server)
	defer cache.Close()
	loading, release := make(chan bool), make(chan bool)
	first := make(chan error, 1)
	go func() {
		_, err := cache.GetOrLoad(ctx, "go:leave", noFill, func(context.Context) ([]byte, error) {
			close(loading)
			<-release
			return []byte("v"), nil
		})
		first <- err
	}()
	<-loading
	gone, leave := context.WithCancel(ctx)
	leave()
	_, err := cache.GetOrLoad(gone, "go:leave", noFill, never)
	expect(errors.Is(err, context.Canceled), "%v", err)
	close(release)
	expect(<-first == nil, "the one that loads does not care")
}

func remembersWhatDoesNotExist() {
	cache := newCache(brief, server)
	defer cache.Close()
	_, err := cache.GetOrLoad(ctx, "go:none", noFill, loadNone)
	expect(errors.Is(err, larder.ErrAbsent), "%v", err)
	_, err = cache.GetOrLoad(ctx, "go:none", noFill, never)
	expect(errors.Is(err, larder.ErrAbsent), "%v", err)
}

func showsMistakesAndFailedOrigins() {
	cache := newCache(brief, server)
	defer cache.Close()
	_, err := cache.GetOrLoad(ctx, "", noFill, never)
	expect(status.Code(err) == codes.InvalidArgument && larder.ReasonOf(err) == "KEY_INVALID", "%v", err)
	_, err = cache.GetOrLoad(ctx, "dead:1", noFill, never)
	expect(status.Code(err) == codes.Unavailable && larder.ReasonOf(err) == "ORIGIN_UNAVAILABLE", "%v", err)
}

func repeatsWhatIsUnavailableAndNothingElse() {
	cache := newCache(larder.Options{Deadline: timeout, Rest: time.Nanosecond}, flaky)
	defer cache.Close()
	value, err := cache.GetOrLoad(ctx, "flaky:go", noFill, never)
	expect(err == nil && string(value) == "at last", "%q %v", value, err)
	for key, calls := range map[string]string{"away:go": "3", "broken:go": "1"} {
		value, err = cache.GetOrLoad(ctx, key, noFill, loadOf("round it"))
		expect(err == nil && string(value) == "round it", "%q %v", value, err)
		value, err = cache.GetOrLoad(ctx, "calls:"+key, noFill, never)
		expect(err == nil && string(value) == calls, "%s: %q calls, %v", key, value, err)
	}
}

func keepsALeaseOnTheReplicaThatGaveIt() {
	cache := newCache(brief, server, other)
	defer cache.Close()
	for i := 0; i < 10; i++ {
		key := fmt.Sprintf("go:turn:%d", i)
		_, err := cache.GetOrLoad(ctx, key, noFill, loadOf("v"))
		expect(err == nil, "%v", err)
		here, there := storedAt(server, key) != nil, storedAt(other, key) != nil
		expect(here == (i%2 == 0) && there == (i%2 == 1), "%s is here: %t, there: %t", key, here, there)
	}
}

func usesTheReplicasThatAreThere() {
	errorsHeard := 0
	cache := newCache(larder.Options{Deadline: timeout, Rest: timeout, OnError: func(error) { errorsHeard++ }}, nobody, server)
	defer cache.Close()
	for i := 0; i < 4; i++ {
		key := fmt.Sprintf("go:there:%d", i)
		_, err := cache.GetOrLoad(ctx, key, noFill, loadOf("v"))
		expect(err == nil && storedAt(server, key) != nil, "%s: %v", key, err)
	}
	expect(errorsHeard == 1, "the one that is away is asked once, then it rests; %d errors", errorsHeard)
}

func timed(cache *larder.Cache, key string) time.Duration {
	began := time.Now()
	value, err := cache.GetOrLoad(ctx, key, noFill, loadOf("by hand"))
	expect(err == nil && string(value) == "by hand", "%q %v", value, err)
	return time.Since(began)
}

func goesOnWithoutLarderAndComesBack() {
	cache := newCache(larder.Options{Deadline: 2 * time.Second, Rest: 100 * time.Millisecond}, server)
	defer cache.Close()
	cache.GetOrLoad(ctx, "go:before", noFill, loadOf("v"))
	tellRun("stop")
	took := timed(cache, "go:away")
	expect(took < 2*time.Second, "it took %v", took)
	tellRun("start")
	for i, until := 0, time.Now().Add(timeout); storedAt(server, fmt.Sprintf("go:back:%d", i)) == nil; {
		expect(time.Now().Before(until), "larder is not used again")
		time.Sleep(20 * time.Millisecond)
		i++
		value, err := cache.GetOrLoad(ctx, fmt.Sprintf("go:back:%d", i), noFill, loadOf("v"))
		expect(err == nil && string(value) == "v", "%q %v", value, err)
	}
}

func waitsNoLongerThanItsDeadline() {
	cache := newCache(larder.Options{Deadline: 2 * time.Second, Rest: timeout}, server)
	defer cache.Close()
	cache.GetOrLoad(ctx, "go:warm", noFill, loadOf("v"))
	tellRun("freeze")
	took := timed(cache, "go:frozen")
	expect(took > 1800*time.Millisecond && took < 8*time.Second, "it took %v", took)
	took = timed(cache, "go:frozen:2")
	expect(took < 1500*time.Millisecond, "a replica that rests is not asked, but it took %v", took)
	tellRun("thaw")
}

// passes runs one case and prints its line.
func passes(name string, run func()) (passed bool) {
	defer func() {
		if cause := recover(); cause != nil {
			if _, isFailure := cause.(failure); !isFailure {
				panic(cause)
			}
			fmt.Printf("FAILED  go helper %s\n%v\n", name, cause)
			passed = false
		}
	}()
	run()
	fmt.Printf("ok      go helper %s\n", name)
	return true
}

func main() {
	var cancel context.CancelFunc
	ctx, cancel = context.WithTimeout(context.Background(), 6*timeout)
	defer cancel()
	all := true
	for _, test := range []struct {
		name string
		run  func()
	}{
		{"loadsOnceForTwentyCallers", loadsOnceForTwentyCallers},
		{"loadsOnceForTwoProcesses", loadsOnceForTwoProcesses},
		{"othersGoOnWhenALoaderFails", othersGoOnWhenALoaderFails},
		{"givesTheLeaseBackWhenALoaderPanics", givesTheLeaseBackWhenALoaderPanics},
		{"letsACallerGo", letsACallerGo},
		{"remembersWhatDoesNotExist", remembersWhatDoesNotExist},
		{"showsMistakesAndFailedOrigins", showsMistakesAndFailedOrigins},
		{"repeatsWhatIsUnavailableAndNothingElse", repeatsWhatIsUnavailableAndNothingElse},
		{"keepsALeaseOnTheReplicaThatGaveIt", keepsALeaseOnTheReplicaThatGaveIt},
		{"usesTheReplicasThatAreThere", usesTheReplicasThatAreThere},
		{"goesOnWithoutLarderAndComesBack", goesOnWithoutLarderAndComesBack},
		{"waitsNoLongerThanItsDeadline", waitsNoLongerThanItsDeadline},
	} {
		all = passes(test.name, test.run) && all
	}
	if !all {
		os.Exit(1)
	}
}
