# What a Ruby program relies on when it calls larder. Each method of Cases is one case.
#
# Needs LARDER_SERVER, and the stubs of larder.v1 on the load path; with LARDER_CA, a file, it speaks TLS. Prints a line
# for each case; exits 1 if one fails.

require "larder/v1/cache_services_pb"

V1 = Larder::V1
TIMEOUT = 10

def deadline(seconds = TIMEOUT)
  GRPC::Core::TimeConsts.from_relative_time(seconds)
end

def expect(condition, what)
  raise what.inspect unless condition
end

# The status code of a call that must fail.
def code_of
  yield
  raise "the call did not fail"
rescue GRPC::BadStatus => e
  e.code
end

CREDENTIALS = ENV.key?("LARDER_CA") ? GRPC::Core::ChannelCredentials.new(File.read(ENV["LARDER_CA"])) : :this_channel_is_insecure
CACHE = V1::Cache::Stub.new(ENV.fetch("LARDER_SERVER"), CREDENTIALS,
                            channel_args: { "grpc.max_receive_message_length" => 64 << 20 })

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

  def tells_errors_by_their_codes
    expect(code_of { CACHE.get(V1::GetRequest.new(key: ""), deadline: deadline) } ==
           GRPC::Core::StatusCodes::INVALID_ARGUMENT, "an empty key")
  end

  def ends_a_wait_at_its_deadline
    CACHE.get_or_load(V1::GetOrLoadRequest.new(key: "rb:lease"), deadline: deadline)
    code = code_of { CACHE.get_or_load(V1::GetOrLoadRequest.new(key: "rb:lease"), deadline: deadline(0.1)) }
    expect(code == GRPC::Core::StatusCodes::DEADLINE_EXCEEDED, code)
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

  def makes_calls_from_many_threads
    CACHE.set(V1::SetRequest.new(key: "rb:many", value: "v"), deadline: deadline)
    threads = (0...50).map do
      Thread.new { (0...40).map { CACHE.get(V1::GetRequest.new(key: "rb:many"), deadline: deadline).hit.value } }
    end
    expect(threads.flat_map(&:value).tally == { "v" => 2000 }, "not all calls were hits")
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
