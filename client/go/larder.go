// Package larder is GetOrLoad over larder, for services in Go: read a key, or load it once for all who ask.
//
//	cache, err := larder.New([]string{"larder-0:50051", "larder-1:50051"}, larder.Options{})
//	profile, err := cache.GetOrLoad(ctx, "user:42", larder.Fill{TTL: time.Minute}, readProfile)
//
// Copy this file into your module and let it import the stubs that protoc makes there of larder/v1/cache.proto. It needs
// google.golang.org/grpc and google.golang.org/genproto/googleapis/rpc. What it does and why is in larder's docs/clients.md.
package larder

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "example.com/app/larderv1"
)

// ServiceConfig is what gRPC does by itself on each connection. Every call of this file can be repeated: a Set carries a
// request id.
const ServiceConfig = `{
	"methodConfig": [{
		"name": [{"service": "larder.v1.Cache"}],
		"retryPolicy": {
			"maxAttempts": 3, "initialBackoff": "0.02s", "maxBackoff": "0.2s", "backoffMultiplier": 2,
			"retryableStatusCodes": ["UNAVAILABLE"]
		}
	}],
	"retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1}
}`

// ErrAbsent says that a key does not exist. A Loader returns it for others to be told the same; GetOrLoad does to tell so.
var ErrAbsent = errors.New("larder: no such key")

// A Loader reads the value of one key from where the truth is.
type Loader func(ctx context.Context) ([]byte, error)

// Options of a Cache. A zero means the default.
type Options struct {
	// Empty is larder's namespace `default`.
	Namespace string
	// What the calls to larder may take before the value is loaded without it, the wait for another caller's load
	// included. Default 1 s.
	Deadline time.Duration
	// Longer than a load takes; 10 ms to 5 min. Default 10 s.
	LeaseTTL time.Duration
	// How long a replica that failed is left alone. Default 1 s.
	Rest time.Duration
	// Is told of the errors that cost nobody a value: a replica that is away, a Set that failed.
	OnError func(error)
	// Such as credentials; default: none, plain text.
	DialOptions []grpc.DialOption
}

// Fill says how a loaded value is stored.
type Fill struct {
	// Zero: by the data type.
	TTL  time.Duration
	Tags []string
	// Empty: the data type by the key's pattern.
	Type string
}

type replica struct {
	conn       *grpc.ClientConn
	cache      pb.CacheClient
	restsUntil atomic.Int64 // Unix nanoseconds
}

// A load that is under way in this process; what became of it may be read once it has landed.
type flight struct {
	landed chan struct{}
	ok     bool
	value  []byte
	absent bool
}

// Cache is safe for use by any number of goroutines.
type Cache struct {
	options  Options
	replicas []*replica
	turn     atomic.Uint32

	mu      sync.Mutex
	flights map[string]*flight
}

// New makes a cache; `targets` has an address for each replica. It does not connect: the first call does.
func New(targets []string, options Options) (*Cache, error) {
	if len(targets) == 0 {
		return nil, errors.New("larder: no targets")
	}
	orDefault(&options.Deadline, time.Second)
	orDefault(&options.LeaseTTL, 10*time.Second)
	orDefault(&options.Rest, time.Second)
	if options.OnError == nil {
		options.OnError = func(error) {}
	}
	dial := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(ServiceConfig),
		grpc.WithDisableServiceConfig(),
		// Finds out that a replica has vanished without a word, while calls are under way. larder closes connections that
		// ping more often than every 10 s (connections.ping_interval_min).
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 5 * time.Second}),
		// Else a replica that is back would not be noticed for up to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: time.Second,
		}),
	}, options.DialOptions...)
	cache := &Cache{options: options, flights: map[string]*flight{}}
	for _, target := range targets {
		conn, err := grpc.NewClient(target, dial...)
		if err != nil {
			cache.Close()
			return nil, err
		}
		cache.replicas = append(cache.replicas, &replica{conn: conn, cache: pb.NewCacheClient(conn)})
	}
	return cache, nil
}

func orDefault(duration *time.Duration, usual time.Duration) {
	if *duration == 0 {
		*duration = usual
	}
}

// Close ends the connections. Calls that are under way load without larder.
func (c *Cache) Close() {
	for _, r := range c.replicas {
		r.conn.Close()
	}
}

// GetOrLoad returns the value of `key`, or ErrAbsent. On a miss `load` runs in one caller of all. Its error reaches the caller
// whose `load` it was; the others go on. An error of gRPC means that larder refuses the call, or that the origin from which
// larder loads the key fails.
func (c *Cache) GetOrLoad(ctx context.Context, key string, fill Fill, load Loader) ([]byte, error) {
	for {
		c.mu.Lock()
		other := c.flights[key]
		if other == nil {
			own := &flight{landed: make(chan struct{})}
			c.flights[key] = own
			c.mu.Unlock()
			return c.lead(ctx, key, fill, load, own)
		}
		c.mu.Unlock()
		select {
		case <-other.landed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if other.ok && other.absent {
			return nil, ErrAbsent
		}
		if other.ok {
			return other.value, nil
		}
		// It failed: this caller is as good as any.
	}
}

func (c *Cache) lead(ctx context.Context, key string, fill Fill, load Loader, own *flight) ([]byte, error) {
	// Also when `load` panics.
	defer func() {
		c.mu.Lock()
		delete(c.flights, key)
		c.mu.Unlock()
		close(own.landed)
	}()
	value, err := c.fly(ctx, key, fill, load)
	own.value, own.absent = value, errors.Is(err, ErrAbsent)
	own.ok = err == nil || own.absent
	return value, err
}

func (c *Cache) fly(ctx context.Context, key string, fill Fill, load Loader) ([]byte, error) {
	answer, from, err := c.ask(ctx, key, fill.Type)
	if err != nil {
		return nil, err
	}
	if hit := answer.GetHit(); hit != nil {
		return hit.Value, nil
	}
	if answer.GetMiss().GetReason() == pb.MissReason_MISS_REASON_NEGATIVE {
		return nil, ErrAbsent
	}
	token := answer.GetLease().GetToken()
	loaded := false
	defer func() {
		if !loaded {
			c.giveBack(from, key, token)
		}
	}()
	value, err := load(ctx)
	if err != nil && !errors.Is(err, ErrAbsent) {
		return nil, err
	}
	loaded = true
	c.store(ctx, from, key, value, err != nil, token, fill)
	return value, err
}

// ask returns what larder answers, and the replica that did; neither when none does in time. Its errors are the caller's.
func (c *Cache) ask(ctx context.Context, key, kind string) (*pb.GetOrLoadResponse, *replica, error) {
	within, cancel := context.WithTimeout(ctx, c.options.Deadline)
	defer cancel()
	for _, r := range c.inTurn() {
		until, _ := within.Deadline()
		left := time.Until(until)
		if left <= 0 {
			break
		}
		answer, err := r.cache.GetOrLoad(within, &pb.GetOrLoadRequest{
			Namespace: c.options.Namespace, Key: key, Type: kind, LeaseTtl: durationpb.New(c.options.LeaseTTL),
			// A little less than the deadline, which would look as if the replica were dead.
			Wait: durationpb.New(left * 9 / 10)})
		if err == nil {
			r.restsUntil.Store(0)
			return answer, r, nil
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err() // the caller has gone
		}
		if isRefusal(err) || strings.HasPrefix(ReasonOf(err), "ORIGIN_") {
			return nil, nil, err
		}
		r.restsUntil.Store(time.Now().Add(c.options.Rest).UnixNano())
		c.options.OnError(err)
	}
	return nil, nil, nil
}

// inTurn returns the replicas that do not rest, each call beginning with the next one.
func (c *Cache) inTurn() []*replica {
	first := int(c.turn.Add(1)-1) % len(c.replicas)
	now := time.Now().UnixNano()
	var awake []*replica
	for i := range c.replicas {
		if r := c.replicas[(first+i)%len(c.replicas)]; r.restsUntil.Load() <= now {
			awake = append(awake, r)
		}
	}
	return awake
}

func (c *Cache) store(ctx context.Context, to *replica, key string, value []byte, absent bool, token []byte, fill Fill) {
	// Without a lease the value may be older than a change that was made meanwhile: it is not for others.
	if len(token) == 0 {
		return
	}
	request := &pb.SetRequest{Namespace: c.options.Namespace, Key: key, Type: fill.Type, Tags: fill.Tags,
		LeaseToken: token, RequestId: newRequestID(), Content: &pb.SetRequest_Value{Value: value}}
	if absent {
		request.Content = &pb.SetRequest_Absent{Absent: true}
	}
	if fill.TTL != 0 {
		request.Ttl = durationpb.New(fill.TTL)
	}
	within, cancel := context.WithTimeout(ctx, c.options.Deadline)
	defer cancel()
	if _, err := to.cache.Set(within, request); err != nil {
		c.options.OnError(err) // the caller has its value all the same
		c.giveBack(to, key, token)
	}
}

func (c *Cache) giveBack(to *replica, key string, token []byte) {
	if len(token) == 0 {
		return
	}
	// Also for a caller that has gone.
	within, cancel := context.WithTimeout(context.Background(), c.options.Deadline)
	defer cancel()
	request := &pb.ReleaseLeaseRequest{Namespace: c.options.Namespace, Key: key, LeaseToken: token}
	if _, err := to.cache.ReleaseLease(within, request); err != nil {
		c.options.OnError(err) // then it runs out by itself
	}
}

// isRefusal tells the caller's own mistakes: to be seen, not to be bridged by loading.
func isRefusal(err error) bool {
	switch status.Code(err) {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.PermissionDenied, codes.Unauthenticated:
		return true
	}
	return false
}

// ReasonOf returns the reason that larder gives for an error, such as ORIGIN_UNAVAILABLE; empty for others' errors.
func ReasonOf(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

func newRequestID() string {
	var bytes [16]byte
	if _, err := rand.Read(bytes[:]); err != nil {
		return "" // then a repeat may find its lease gone, and the value is not stored
	}
	return hex.EncodeToString(bytes[:])
}
