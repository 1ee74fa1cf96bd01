#include "net/link_metrics.h"

#include <fmt/format.h>

#include "net/link_stats.h"

namespace troupe {

namespace {

void head(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

template <class Number>
void one(std::string& out, std::string_view name, std::string_view type, std::string_view help,
         Number value) {
  head(out, name, type, help);
  out += fmt::format("{} {}\n", name, value);
}

/// Every reason has a series from the start, so that a first refusal is a step and no new series.
void by_reason(std::string& out, std::string_view name, std::string_view help,
               const std::vector<uint64_t>& counts) {
  head(out, name, "counter", help);
  for (size_t i = 0; i < kLinkRefusals; ++i)
    out += fmt::format("{}{{reason=\"{}\"}} {}\n", name, name_of(static_cast<LinkRefusal>(i)),
                       i < counts.size() ? counts[i] : 0);
}

}  // namespace

std::string link_metrics_text(const LinkFigures& f) {
  std::string out;
  one(out, "troupe_link_streams", "gauge", "Streams between processes of different hosts, now.",
      f.open);
  one(out, "troupe_link_streams_accepted_total", "counter",
      "Streams from other nodes that were accepted.", f.accepted);
  one(out, "troupe_link_streams_dialled_total", "counter",
      "Streams to other nodes that were accepted there.", f.dialled);
  one(out, "troupe_link_streams_ended_total", "counter", "Accepted and dialled streams that ended.",
      f.ended);
  one(out, "troupe_link_received_bytes_total", "counter",
      "Bytes from other nodes, as processes read them.", f.bytes_in);
  one(out, "troupe_link_sent_bytes_total", "counter",
      "Bytes to other nodes, as processes wrote them.", f.bytes_out);
  one(out, "troupe_link_unauthenticated_sockets", "gauge",
      "Connections that have yet to prove which node they come from, now.", f.unauthenticated);
  by_reason(out, "troupe_link_refused_total",
            "Connections from outside that came to nothing, by why.", f.refused);
  by_reason(out, "troupe_link_dials_failed_total", "Dials to other nodes that failed, by why.",
            f.failed);
  one(out, "troupe_certificate_expiry_timestamp_seconds", "gauge",
      "When this node's certificate ends, in seconds since 1970.", f.certificate_expires);
  return out;
}

std::string beat_metrics_text(const NodeBeatsStats& s) {
  std::string out;
  one(out, "troupe_beat_connections", "gauge", "Other nodes whose beats come, now.", s.open);
  one(out, "troupe_beats_sent_total", "counter", "Beats sent to other nodes.", s.sent);
  one(out, "troupe_beats_unsent_total", "counter",
      "Beats left out because their connection was full.", s.unsent);
  one(out, "troupe_beats_heard_total", "counter", "Beats of other nodes that came.", s.heard);
  one(out, "troupe_beat_connections_refused_total", "counter",
      "Connections for beats closed for what they said, or as one too many.", s.refused);
  one(out, "troupe_beat_connections_silent_total", "counter",
      "Connections for beats closed because they brought nothing.", s.silent);
  return out;
}

std::string file_metrics_text(const FileStoreStats& s) {
  std::string out;
  one(out, "troupe_file_sent_bytes_total", "counter", "Bytes of model files sent to other nodes.",
      s.sender.bytes);
  one(out, "troupe_file_transfers_sent_total", "counter",
      "Transfers of model files to other nodes that reached the end.", s.sender.sent);
  one(out, "troupe_file_transfers_broken_total", "counter",
      "Transfers of model files to other nodes that ended early.", s.sender.broken);
  one(out, "troupe_file_requests_refused_total", "counter",
      "Requests of other nodes for model files that got a refusal or were wrong.",
      s.sender.refused);
  one(out, "troupe_file_received_bytes_total", "counter",
      "Bytes of model files that came from other nodes.", s.received);
  one(out, "troupe_files_fetched_total", "counter",
      "Model files that came from other nodes and were verified.", s.fetched);
  one(out, "troupe_files_wrong_total", "counter",
      "Model files, or parts of them, that were deleted because their bytes were wrong.", s.wrong);
  return out;
}

}  // namespace troupe
