# What a Ruby program relies on when it calls larder. Each method of Cases is one case.
#
# Needs LARDER_SERVER, and the stubs of larder.v1 on the load path; with LARDER_CA, a file, it speaks TLS. Prints a line
# for each case; exits 1 if one fails.

require "google/protobuf/well_known_types"
require "google/rpc/error_details_pb"
require "grpc/health/v1/health_services_pb"
require "larder/v1/admin_services_pb"
require "larder/v1/cache_services_pb"

V1 = Larder::V1
TIMEOUT = 10

def deadline(seconds = TIMEOUT)
  GRPC::Core::TimeConsts.from_relative_time(seconds)
end

def expect(condition, what)
  raise what.inspect unless condition
end

# The error of a call that must fail.
def error_of
  yield
  raise "the call did not fail"
rescue GRPC::BadStatus => e
  e
end

def code_of(&call)
  error_of(&call).code
end

# The code of a call that must fail, the reason that larder gives, and the fields that it does not like.
def details_of(&call)
  error = error_of(&call)
  details = error.to_rpc_status.details
  info = details.filter_map { |detail| detail.unpack(Google::Rpc::ErrorInfo) }.first
  expect(info.domain == "larder", info)
  requests = details.filter_map { |detail| detail.unpack(Google::Rpc::BadRequest) }
  [error.code, info.reason, requests.flat_map { |request| request.field_violations.map(&:field) }]
end

def wait_for_waiters(key, count)
  give_up = Time.now + TIMEOUT
  until ADMIN.explain(V1::ExplainRequest.new(key: key), deadline: deadline).lease_waiters == count
    raise "#{key} never had #{count} waiters" if Time.now > give_up

    sleep 0.005
  end
end

CREDENTIALS = ENV.key?("LARDER_CA") ? GRPC::Core::ChannelCredentials.new(File.read(ENV["LARDER_CA"])) : :this_channel_is_insecure
CACHE = V1::Cache::Stub.new(ENV.fetch("LARDER_SERVER"), CREDENTIALS,
                            channel_args: { "grpc.max_receive_message_length" => 64 << 20 })
ADMIN = V1::Admin::Stub.new(ENV.fetch("LARDER_SERVER"), CREDENTIALS)

module Cases
  module_function

  def stores_reads_and_deletes_bytes
    value = (0..255).to_a.pack("C*")
    set = V1::SetRequest.new(key: "rb:ключ", value: value, ttl: { seconds: 60 }, tags: ["rb"])
    stored = CACHE.set(set, deadline: deadline).stored
    hit = CACHE.get(V1::GetRequest.new(key: "rb:ключ"), deadline: deadline).hit
    expect(hit.value == value && hit.version == stored.version && hit.tags.to_a == ["rb"], hit)
    deleted = CACHE.delete(V1::DeleteRequest.new(key: "rb:ключ"), deadline: deadline)
    expect(deleted.existed, deleted)
    miss = CACHE.get(V1::GetRequest.new(key: "rb:ключ"), deadline: deadline).miss
    expect(miss.reason == :MISS_REASON_INVALIDATED, miss)
  end

  def answers_batches_of_many_megabytes
    value = "x" * 900_000
    items = (0...10).map { |i| V1::BatchSetItem.new(key: "rb:large:#{i}", value: value) }
    results = CACHE.batch_set(V1::BatchSetRequest.new(items: items), deadline: deadline).results
    expect(results.all?(&:stored), results)
    keys = (0...10).map { |i| "rb:large:#{i}" }
    hits = CACHE.batch_get(V1::BatchGetRequest.new(keys: keys), deadline: deadline).results.map(&:hit)
    expect(hits.all? { |hit| hit.value == value }, hits.map { |hit| hit&.value&.size })
  end

  def misses_are_ok_with_a_reason
    miss = CACHE.get(V1::GetRequest.new(key: "rb:nobody"), deadline: deadline).miss
    expect(miss.reason == :MISS_REASON_ABSENT, miss)
    CACHE.set(V1::SetRequest.new(key: "rb:gone", value: "v"), deadline: deadline)
    CACHE.delete(V1::DeleteRequest.new(key: "rb:gone"), deadline: deadline)
    miss = CACHE.get(V1::GetRequest.new(key: "rb:gone"), deadline: deadline).miss
    expect(miss.reason == :MISS_REASON_INVALIDATED, miss)
  end

  def tells_errors_in_google_rpc_details
    invalid = GRPC::Core::StatusCodes::INVALID_ARGUMENT
    details = details_of { CACHE.get(V1::GetRequest.new(key: ""), deadline: deadline) }
    expect(details == [invalid, "KEY_INVALID", ["key"]], details)
    details = details_of { CACHE.batch_get(V1::BatchGetRequest.new(keys: ["a", "\n"]), deadline: deadline) }
    expect(details == [invalid, "KEY_INVALID", ["keys[1]"]], details)
    details = details_of { ADMIN.warm(V1::WarmRequest.new, deadline: deadline).to_a } # a stream
    expect(details.first(2) == [invalid, "REQUEST_INVALID"], details)
    same = proc { |bytes| bytes }
    details = details_of { CACHE.request_response("/larder.v1.Cache/Fetch", "", same, same, deadline: deadline) }
    expect(details.first(2) == [GRPC::Core::StatusCodes::UNIMPLEMENTED, "METHOD_UNKNOWN"], details)
  end

  def gives_one_lease_and_its_value_to_the_other_caller
    request = V1::GetOrLoadRequest.new(key: "rb:other")
    lease = CACHE.get_or_load(request, deadline: deadline).lease
    expect(!lease.token.empty? && lease.ttl.seconds == 10, lease)
    waiting = Thread.new { CACHE.get_or_load(request, deadline: deadline) }
    wait_for_waiters("rb:other", 1)
    set = V1::SetRequest.new(key: "rb:other", value: "loaded", lease_token: lease.token)
    expect(CACHE.set(set, deadline: deadline).stored, "not stored")
    expect(waiting.value.hit.value == "loaded", waiting.value)
  end

  def ends_a_wait_at_its_deadline
    CACHE.get_or_load(V1::GetOrLoadRequest.new(key: "rb:lease"), deadline: deadline)
    code = code_of { CACHE.get_or_load(V1::GetOrLoadRequest.new(key: "rb:lease"), deadline: deadline(0.1)) }
    expect(code == GRPC::Core::StatusCodes::DEADLINE_EXCEEDED, code)
    wait_for_waiters("rb:lease", 0)
  end

  def cancels_a_waiting_call
    request = V1::GetOrLoadRequest.new(key: "rb:cancelled")
    lease = CACHE.get_or_load(request, deadline: deadline).lease
    call = CACHE.get_or_load(request, deadline: deadline, return_op: true)
    waiting = Thread.new { code_of { call.execute } }
    wait_for_waiters("rb:cancelled", 1)
    call.cancel
    expect(waiting.value == GRPC::Core::StatusCodes::CANCELLED, waiting.value)
    wait_for_waiters("rb:cancelled", 0)
    # Who holds the lease does not notice.
    set = V1::SetRequest.new(key: "rb:cancelled", value: "loaded", lease_token: lease.token)
    expect(CACHE.set(set, deadline: deadline).stored, "not stored")
  end

  def follows_changes_until_it_cancels
    watch = V1::WatchRequest.new(prefix: "rb:watched", values: true, heartbeat: { nanos: 100_000_000 })
    call = CACHE.watch(watch, deadline: deadline, return_op: true)
    seen = nil
    begin
      call.execute.each do |change|
        # From the first word on every change is told.
        CACHE.set(V1::SetRequest.new(key: "rb:watched", value: "v"), deadline: deadline) if change.heartbeat && !seen
        next unless change.put

        seen = change.put
        call.cancel
      end
    rescue GRPC::Cancelled
      expect(seen && seen.key == "rb:watched" && seen.value == "v", seen)
    end
    expect(seen, "no change was told")
  end

  def waits_in_thousands_of_streams_at_once
    request = V1::GetOrLoadRequest.new(key: "rb:crowd")
    lease = CACHE.get_or_load(request, deadline: deadline).lease
    waiting = (0...2_000).map { Thread.new { CACHE.get_or_load(request, deadline: deadline(60)).hit.value } }
    wait_for_waiters("rb:crowd", waiting.size)
    CACHE.set(V1::SetRequest.new(key: "rb:crowd", value: "loaded", lease_token: lease.token), deadline: deadline)
    expect(waiting.map(&:value).tally == { "loaded" => 2_000 }, "not all have got it")
  end

  def makes_calls_from_many_threads
    CACHE.set(V1::SetRequest.new(key: "rb:many", value: "v"), deadline: deadline)
    threads = (0...50).map do
      Thread.new { (0...40).map { CACHE.get(V1::GetRequest.new(key: "rb:many"), deadline: deadline).hit.value } }
    end
    expect(threads.flat_map(&:value).tally == { "v" => 2000 }, "not all calls were hits")
  end

  def tells_its_health
    health = Grpc::Health::V1::Health::Stub.new(ENV.fetch("LARDER_SERVER"), CREDENTIALS)
    check = ->(service) { health.check(Grpc::Health::V1::HealthCheckRequest.new(service: service), deadline: deadline) }
    ["", "liveness", "readiness"].each { |service| expect(check.call(service).status == :SERVING, service) }
    expect(code_of { check.call("nobody") } == GRPC::Core::StatusCodes::NOT_FOUND, "nobody's health")
  end
end

failed = false
Cases.singleton_methods(false).each do |name|
  Cases.send(name)
  puts "ok      ruby #{name}"
rescue StandardError => e
  failed = true
  puts "FAILED  ruby #{name}\n#{e.full_message(highlight: false)}"
end
exit(failed ? 1 : 0)
