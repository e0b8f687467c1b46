// What a Go program relies on when it calls larder. Each function is one case.
// Needs LARDER_SERVER; with LARDER_CA, a file, it speaks TLS. Prints a line for each case; exits 1 if one fails.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalphapb "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	pb "larder.example/polyglot/larderv1"
)

const timeout = 10 * time.Second

// Every call of every case must be over before this is; main makes it.
var ctx context.Context

type clients struct {
	conn  *grpc.ClientConn
	cache pb.CacheClient
	admin pb.AdminClient
}

// A failed check ends its case by panicking with this.
type failure string

func expect(condition bool, format string, args ...any) {
	if !condition {
		panic(failure(fmt.Sprintf(format, args...)))
	}
}

// ok unwraps the answer of a call that must succeed.
func ok[T any](answer T, err error) T {
	expect(err == nil, "call failed: %v", err)
	return answer
}

// details returns the code, the ErrorInfo's reason and the fields of the BadRequest of a failed call.
func details(err error) (codes.Code, string, []string) {
	expect(err != nil, "the call did not fail")
	state := status.Convert(err)
	reason := ""
	var fields []string
	for _, detail := range state.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			expect(detail.Domain == "larder", "domain %q", detail.Domain)
			reason = detail.Reason
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				fields = append(fields, violation.Field)
			}
		}
	}
	return state.Code(), reason, fields
}

func waitForWaiters(c clients, key string, count uint32) {
	for until := time.Now().Add(timeout); ; {
		if ok(c.admin.Explain(ctx, &pb.ExplainRequest{Key: key})).LeaseWaiters == count {
			return
		}
		expect(time.Now().Before(until), "%s never had %d waiters", key, count)
	}
}

func storesReadsAndDeletesBytes(c clients) {
	key := "go:ключ:🔑"
	value := make([]byte, 256)
	for i := range value {
		value[i] = byte(i)
	}
	stored := ok(c.cache.Set(ctx, &pb.SetRequest{Key: key, Content: &pb.SetRequest_Value{Value: value},
		Ttl: durationpb.New(time.Minute), Tags: []string{"go"}})).GetStored()
	hit := ok(c.cache.Get(ctx, &pb.GetRequest{Key: key})).GetHit()
	expect(bytes.Equal(hit.GetValue(), value) && hit.GetVersion() == stored.GetVersion(), "%v", hit)
	expect(hit.Tier == pb.Tier_TIER_L1 && len(hit.Tags) == 1 && !hit.Stale, "%v", hit)
	deleted := ok(c.cache.Delete(ctx, &pb.DeleteRequest{Key: key}))
	expect(deleted.Existed && deleted.Version > stored.Version, "%v", deleted)
}

func missesAreOkWithAReason(c clients) {
	miss := ok(c.cache.Get(ctx, &pb.GetRequest{Key: "go:nobody"})).GetMiss()
	expect(miss.GetReason() == pb.MissReason_MISS_REASON_ABSENT, "%v", miss)
	ok(c.cache.Set(ctx, &pb.SetRequest{Key: "go:gone", Content: &pb.SetRequest_Value{Value: []byte("v")}}))
	ok(c.cache.Delete(ctx, &pb.DeleteRequest{Key: "go:gone"}))
	miss = ok(c.cache.Get(ctx, &pb.GetRequest{Key: "go:gone"})).GetMiss()
	expect(miss.GetReason() == pb.MissReason_MISS_REASON_INVALIDATED, "%v", miss)
}

func tellsErrorsInGoogleRPCDetails(c clients) {
	_, err := c.cache.Get(ctx, &pb.GetRequest{})
	code, reason, fields := details(err)
	expect(code == codes.InvalidArgument && reason == "KEY_INVALID", "%v %v", code, reason)
	expect(len(fields) == 1 && fields[0] == "key", "%v", fields)
	stream := ok(c.admin.Warm(ctx, &pb.WarmRequest{}))
	_, err = stream.Recv()
	code, reason, _ = details(err)
	expect(code == codes.InvalidArgument && reason == "REQUEST_INVALID", "%v %v", code, reason)
	err = c.conn.Invoke(ctx, "/larder.v1.Cache/Fetch", &emptypb.Empty{}, &emptypb.Empty{})
	code, reason, _ = details(err)
	expect(code == codes.Unimplemented && reason == "METHOD_UNKNOWN", "%v %v", code, reason)
}

type loaded struct {
	answer *pb.GetOrLoadResponse
	err    error
}

// getOrLoad calls without waiting for the answer.
func getOrLoad(ctx context.Context, c clients, key string) <-chan loaded {
	waiting := make(chan loaded, 1)
	go func() {
		answer, err := c.cache.GetOrLoad(ctx, &pb.GetOrLoadRequest{Key: key})
		waiting <- loaded{answer, err}
	}()
	return waiting
}

func givesOneLeaseAndItsValueToTheOtherCaller(c clients) {
	key := "go:lease"
	lease := ok(c.cache.GetOrLoad(ctx, &pb.GetOrLoadRequest{Key: key})).GetLease()
	expect(len(lease.GetToken()) > 0 && lease.Ttl.AsDuration() == 10*time.Second, "%v", lease)
	waiting := getOrLoad(ctx, c, key)
	waitForWaiters(c, key, 1)
	stored := ok(c.cache.Set(ctx, &pb.SetRequest{Key: key, Content: &pb.SetRequest_Value{Value: []byte("loaded")},
		LeaseToken: lease.Token}))
	expect(stored.GetStored() != nil, "%v", stored)
	other := <-waiting
	expect(other.err == nil && string(other.answer.GetHit().GetValue()) == "loaded", "%v", other)
}

func endsAWaitAtItsDeadline(c clients) {
	key := "go:deadline"
	ok(c.cache.GetOrLoad(ctx, &pb.GetOrLoadRequest{Key: key}))
	miss := ok(c.cache.GetOrLoad(ctx, &pb.GetOrLoadRequest{Key: key, Wait: durationpb.New(20 * time.Millisecond)}))
	expect(miss.GetMiss().GetReason() == pb.MissReason_MISS_REASON_LOADING, "%v", miss)
	brief, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err := c.cache.GetOrLoad(brief, &pb.GetOrLoadRequest{Key: key})
	expect(status.Code(err) == codes.DeadlineExceeded, "%v", err)
	waitForWaiters(c, key, 0)
}

func cancelsAWaitingCall(c clients) {
	key := "go:cancelled"
	lease := ok(c.cache.GetOrLoad(ctx, &pb.GetOrLoadRequest{Key: key})).GetLease()
	cancellable, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting := getOrLoad(cancellable, c, key)
	waitForWaiters(c, key, 1)
	cancel()
	other := <-waiting
	expect(status.Code(other.err) == codes.Canceled, "%v", other)
	waitForWaiters(c, key, 0)
	// Who holds the lease does not notice.
	stored := ok(c.cache.Set(ctx, &pb.SetRequest{Key: key, Content: &pb.SetRequest_Value{Value: []byte("loaded")},
		LeaseToken: lease.GetToken()}))
	expect(stored.GetStored() != nil, "%v", stored)
}

func followsChangesUntilItCancels(c clients) {
	key := "go:watched"
	cancellable, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stream := ok(c.cache.Watch(cancellable, &pb.WatchRequest{Selector: &pb.WatchRequest_Prefix{Prefix: key}, Values: true,
		Heartbeat: durationpb.New(100 * time.Millisecond)}))
	// From the first word on every change is told.
	ok(stream.Recv())
	ok(c.cache.Set(ctx, &pb.SetRequest{Key: key, Content: &pb.SetRequest_Value{Value: []byte("v")}}))
	put := ok(stream.Recv()).GetPut()
	for put == nil {
		put = ok(stream.Recv()).GetPut()
	}
	expect(put.GetKey() == key && string(put.GetValue()) == "v", "%v", put)
	cancel()
	_, err := stream.Recv()
	for err == nil { // what had come before
		_, err = stream.Recv()
	}
	expect(status.Code(err) == codes.Canceled, "%v", err)
}

func takesAndGivesBatchesOfManyMegabytes(c clients) {
	value := bytes.Repeat([]byte("x"), 1_000_000)
	var keys []string
	var items []*pb.BatchSetItem
	for i := 0; i < 12; i++ {
		keys = append(keys, fmt.Sprintf("go:large:%d", i))
		items = append(items, &pb.BatchSetItem{Key: keys[i], Content: &pb.BatchSetItem_Value{Value: value}})
	}
	stored := ok(c.cache.BatchSet(ctx, &pb.BatchSetRequest{Items: items})).GetResults()
	found := ok(c.cache.BatchGet(ctx, &pb.BatchGetRequest{Keys: keys}, grpc.MaxCallRecvMsgSize(64<<20))).GetResults()
	expect(len(stored) == len(keys) && len(found) == len(keys), "%d and %d results", len(stored), len(found))
	for i, key := range keys {
		expect(stored[i].GetStored() != nil, "%s: %v", key, stored[i])
		expect(bytes.Equal(found[i].GetHit().GetValue(), value), "%s: %d bytes", key, len(found[i].GetHit().GetValue()))
	}
}

func waitsInThousandsOfStreamsAtOnce(c clients) {
	key := "go:crowd"
	lease := ok(c.cache.GetOrLoad(ctx, &pb.GetOrLoadRequest{Key: key})).GetLease()
	crowd := make([]<-chan loaded, 2_000)
	for i := range crowd {
		crowd[i] = getOrLoad(ctx, c, key)
	}
	waitForWaiters(c, key, uint32(len(crowd)))
	ok(c.cache.Set(ctx, &pb.SetRequest{Key: key, Content: &pb.SetRequest_Value{Value: []byte("loaded")},
		LeaseToken: lease.GetToken()}))
	for _, waiting := range crowd {
		other := <-waiting
		expect(other.err == nil && string(other.answer.GetHit().GetValue()) == "loaded", "%v", other)
	}
}

func describesItselfByReflectionV1(c clients) {
	stream := ok(reflectionpb.NewServerReflectionClient(c.conn).ServerReflectionInfo(ctx))
	expect(stream.Send(&reflectionpb.ServerReflectionRequest{
		MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}) == nil, "send failed")
	found := map[string]bool{}
	for _, service := range ok(stream.Recv()).GetListServicesResponse().GetService() {
		found[service.Name] = true
	}
	expect(found["larder.v1.Cache"] && found["larder.v1.Admin"] && found["grpc.health.v1.Health"], "%v", found)
}

func describesItselfByReflectionV1Alpha(c clients) {
	stream := ok(reflectionalphapb.NewServerReflectionClient(c.conn).ServerReflectionInfo(ctx))
	expect(stream.Send(&reflectionalphapb.ServerReflectionRequest{
		MessageRequest: &reflectionalphapb.ServerReflectionRequest_FileContainingSymbol{
			FileContainingSymbol: "larder.v1.Cache"}}) == nil, "send failed")
	files := ok(stream.Recv()).GetFileDescriptorResponse().GetFileDescriptorProto()
	expect(len(files) > 0, "no files")
}

func tellsItsHealth(c clients) {
	health := healthpb.NewHealthClient(c.conn)
	for _, service := range []string{"", "liveness", "readiness"} {
		answer := ok(health.Check(ctx, &healthpb.HealthCheckRequest{Service: service}))
		expect(answer.Status == healthpb.HealthCheckResponse_SERVING, "%q is %v", service, answer.Status)
	}
	_, err := health.Check(ctx, &healthpb.HealthCheckRequest{Service: "nobody"})
	expect(status.Code(err) == codes.NotFound, "%v", err)
}

// passes runs one case and prints its line.
func passes(name string, run func(clients), c clients) (passed bool) {
	defer func() {
		if cause := recover(); cause != nil {
			if _, isFailure := cause.(failure); !isFailure {
				panic(cause)
			}
			fmt.Printf("FAILED  go %s\n%v\n", name, cause)
			passed = false
		}
	}()
	run(c)
	fmt.Printf("ok      go %s\n", name)
	return true
}

func connect() (*grpc.ClientConn, error) {
	trust := insecure.NewCredentials()
	if ca := os.Getenv("LARDER_CA"); ca != "" {
		var err error
		if trust, err = credentials.NewClientTLSFromFile(ca, ""); err != nil {
			return nil, err
		}
	}
	return grpc.NewClient(os.Getenv("LARDER_SERVER"), grpc.WithTransportCredentials(trust))
}

func main() {
	conn, err := connect()
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer conn.Close()
	var cancel context.CancelFunc
	ctx, cancel = context.WithTimeout(context.Background(), 6*timeout)
	defer cancel()
	c := clients{conn, pb.NewCacheClient(conn), pb.NewAdminClient(conn)}
	all := true
	for _, test := range []struct {
		name string
		run  func(clients)
	}{
		{"storesReadsAndDeletesBytes", storesReadsAndDeletesBytes},
		{"missesAreOkWithAReason", missesAreOkWithAReason},
		{"tellsErrorsInGoogleRPCDetails", tellsErrorsInGoogleRPCDetails},
		{"givesOneLeaseAndItsValueToTheOtherCaller", givesOneLeaseAndItsValueToTheOtherCaller},
		{"endsAWaitAtItsDeadline", endsAWaitAtItsDeadline},
		{"cancelsAWaitingCall", cancelsAWaitingCall},
		{"followsChangesUntilItCancels", followsChangesUntilItCancels},
		{"takesAndGivesBatchesOfManyMegabytes", takesAndGivesBatchesOfManyMegabytes},
		{"waitsInThousandsOfStreamsAtOnce", waitsInThousandsOfStreamsAtOnce},
		{"describesItselfByReflectionV1", describesItselfByReflectionV1},
		{"describesItselfByReflectionV1Alpha", describesItselfByReflectionV1Alpha},
		{"tellsItsHealth", tellsItsHealth},
	} {
		all = passes(test.name, test.run, c) && all
	}
	if !all {
		os.Exit(1)
	}
}
