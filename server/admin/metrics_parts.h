// The parts of RenderMetrics, and how a table of counts becomes metrics.
// Thread safety: functions without state.

#ifndef LARDER_ADMIN_METRICS_PARTS_H_
#define LARDER_ADMIN_METRICS_PARTS_H_

#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <vector>

#include "admin/exposition.h"
#include "admin/view.h"
#include "base/histogram.h"
#include "google/protobuf/duration.pb.h"
#include "larder/v1/cache.pb.h"

namespace larder {

// One metric, and which field of a message it is. It counts when its name ends in `_total`.
template <typename Message>
struct MetricColumn {
  std::string_view name;
  std::string_view help;
  uint64_t (Message::*value)() const;
};

// What one message is about.
template <typename Message>
struct MetricRow {
  Exposition::Labels labels;
  const Message* message;
};

inline void BeginFamily(std::string_view name, std::string_view help, Exposition* out) {
  if (name.ends_with("_total")) {
    out->Counter(name, help);
  } else {
    out->Gauge(name, help);
  }
}

// A family for each column, in which every row has a sample.
template <typename Message>
void WriteColumns(const std::vector<MetricColumn<Message>>& columns,
                  const std::vector<MetricRow<Message>>& rows, Exposition* out) {
  if (rows.empty()) return;
  for (const MetricColumn<Message>& column : columns) {
    BeginFamily(column.name, column.help, out);
    for (const MetricRow<Message>& row : rows) out->Add(row.labels, (row.message->*column.value)());
  }
}

inline double SecondsOf(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

void WriteAccess(const AccessTally& access, Exposition* out);
void WriteCertificates(const CertificateEnds& ends, Exposition* out);

// One family with one sample.
void WriteOne(std::string_view name, std::string_view help, uint64_t value, Exposition* out);
void WriteOne(std::string_view name, std::string_view help, double value, Exposition* out);

// A histogram's sample, from 50 us to 10 s. Each bucket's bound is at most 6.3% above the slowest
// record that it is sure to count.
void WriteLatency(const Exposition::Labels& labels, const Histogram::Snapshot& latency,
                  Exposition* out);

void WriteTypes(const v1::StatsResponse& stats, Exposition* out);
void WriteMemory(const v1::StatsResponse& stats, Exposition* out);
void WriteLoading(const v1::StatsResponse& stats, Exposition* out);
void WriteTiers(const v1::StatsResponse& stats, Exposition* out);
void WriteOrigins(const v1::StatsResponse& stats, Exposition* out);
void WriteBus(const v1::StatsResponse& stats, Exposition* out);
void WriteJournal(const v1::StatsResponse& stats, const JournalRoom& room, Exposition* out);

}  // namespace larder

#endif  // LARDER_ADMIN_METRICS_PARTS_H_
