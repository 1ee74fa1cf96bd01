#include "net/link_metrics.h"

#include <doctest/doctest.h>

#include "net/admin_server.h"
#include "net/link_stats.h"
#include "tests/net/promtool.h"

namespace troupe {
namespace link_metrics_test {
namespace {

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

LinkFigures figures() {
  LinkFigures f{11, 12, 13, 14, 15, 16, 17, {}, {}, 1'800'000'000};
  f.refused.resize(kLinkRefusals);
  f.failed.resize(kLinkRefusals);
  f.refused[static_cast<size_t>(LinkRefusal::expired)] = 18;
  f.failed[static_cast<size_t>(LinkRefusal::wrong_node)] = 19;
  return f;
}

}  // namespace

TEST_CASE("link metrics: every figure has its line, every reason a series from the start") {
  const std::string text = link_metrics_text(figures());
  for (const char* line :
       {"troupe_link_streams_accepted_total 11", "troupe_link_streams_dialled_total 12",
        "troupe_link_streams_ended_total 13", "troupe_link_streams 14",
        "troupe_link_unauthenticated_sockets 15", "troupe_link_received_bytes_total 16",
        "troupe_link_sent_bytes_total 17", "troupe_link_refused_total{reason=\"expired\"} 18",
        "troupe_link_refused_total{reason=\"crowded\"} 0",
        "troupe_link_dials_failed_total{reason=\"wrong_node\"} 19",
        "troupe_link_dials_failed_total{reason=\"refused_there\"} 0",
        "troupe_certificate_expiry_timestamp_seconds 1800000000"}) {
    CAPTURE(std::string(line));
    CHECK(has_line(text, line));
  }
  size_t reasons = 0;
  for (size_t at = 0; (at = text.find("{reason=", at)) != std::string::npos; ++at) ++reasons;
  CHECK(reasons == 2 * kLinkRefusals);
  // A link of an older build knows fewer reasons, one of a newer build more.
  LinkFigures older = figures(), newer = figures();
  older.refused.resize(3);
  newer.refused.push_back(20);
  CHECK(has_line(link_metrics_text(older), "troupe_link_refused_total{reason=\"expired\"} 0"));
  CHECK(link_metrics_text(newer) == text);
}

TEST_CASE("link metrics: beats have theirs, and a node without a link has none of these series") {
  const std::string text = beat_metrics_text({1, 2, 3, 4, 5, 6});
  for (const char* line : {"troupe_beats_sent_total 1", "troupe_beats_heard_total 2",
                           "troupe_beats_unsent_total 3", "troupe_beat_connections_refused_total 4",
                           "troupe_beat_connections_silent_total 5", "troupe_beat_connections 6"}) {
    CAPTURE(std::string(line));
    CHECK(has_line(text, line));
  }
  CHECK(node_metrics_text(NodeTree()).find("troupe_link_") == std::string::npos);
}

TEST_CASE("link metrics: model files have theirs, and every count is a series of its own") {
  const std::string text = file_metrics_text({{1, 2, 3, 4}, 5, 6, 7});
  for (const char* line :
       {"troupe_file_sent_bytes_total 1", "troupe_file_transfers_sent_total 2",
        "troupe_file_requests_refused_total 3", "troupe_file_transfers_broken_total 4",
        "troupe_file_received_bytes_total 5", "troupe_files_fetched_total 6",
        "troupe_files_wrong_total 7"}) {
    CAPTURE(std::string(line));
    CHECK(has_line(text, line));
  }
}

TEST_CASE("link metrics: promtool has nothing to say about all of a node's") {
  NodeTree tree;
  tree.name = "n1";
  tree.link = figures();
  ActorStatus actor;
  actor.id = "n1/link";
  actor.role = Role::link;
  actor.state = "ready";
  tree.actors = {actor};
  testing::check_with_promtool(node_metrics_text(tree) + beat_metrics_text({1, 2, 3, 4, 5, 6}) +
                               file_metrics_text({{1, 2, 3, 4}, 5, 6, 7}));
}

}  // namespace link_metrics_test
}  // namespace troupe
