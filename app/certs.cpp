// troupe certs: the cluster's CA and the certificates of its nodes.
#include "net/certs.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "net/certs_folder.h"

namespace troupe {

namespace {

WallTime wall_now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

void add_init(CLI::App& certs, Command& chosen) {
  auto order = std::make_shared<CaOrder>();
  CLI::App* c = certs.add_subcommand(
      "init", "Make the cluster's CA (P-256), ca.pem and ca.key, and its cluster.secret");
  c->add_option("--dir", order->folder, "Folder for the CA and the certificates")->required();
  c->add_option("--cluster", order->cluster, "Name of the cluster, for people")
      ->capture_default_str();
  c->add_option("--days", order->days, "How long the CA lasts")->capture_default_str();
  c->footer("Example:\n  troupe certs init --dir certs --cluster demo");
  c->callback([order, &chosen] {
    chosen = [order]() -> Result<int> {
      order->now = wall_now();
      auto made = make_ca(*order);
      if (!made) return std::unexpected(made.error());
      std::printf(
          "%s\n%s  (keep it off the nodes)\n%s\nNext: troupe certs issue NODE... --dir %s, for "
          "each "
          "node of the config.\n",
          made->certificate.c_str(), made->key.c_str(), cluster_secret_file(order->folder).c_str(),
          order->folder.c_str());
      return 0;
    };
  });
}

struct IssueFlags {
  NodeOrder order;
  std::vector<std::string> nodes;
  bool replace = false;
};

Result<int> issue(IssueFlags flags) {
  if (flags.nodes.size() > 1 && !flags.order.hosts.empty())
    return fail(ErrorCode::invalid_argument,
                "--host belongs to one node; issue each node that has further names by itself");
  flags.order.now = wall_now();
  flags.order.if_issued = flags.replace ? IfIssued::replace : IfIssued::refuse;
  for (const std::string& node : flags.nodes) {
    flags.order.node = node;
    auto made = issue_certificate(flags.order);
    if (!made) return std::unexpected(made.error());
    std::printf("%s\n%s\n", made->certificate.c_str(), made->key.c_str());
  }
  std::printf(
      "Next: copy a node's two files, %s and %s to its host, and name the folder as security.certs "
      "in its config.\n",
      ca_files(flags.order.folder).certificate.c_str(),
      cluster_secret_file(flags.order.folder).c_str());
  return 0;
}

void add_issue(CLI::App& certs, Command& chosen) {
  auto flags = std::make_shared<IssueFlags>();
  CLI::App* c =
      certs.add_subcommand("issue", "Issue nodes' certificates and keys: NODE.pem and NODE.key");
  c->add_option("node", flags->nodes, "The nodes' names in the config")->required();
  c->add_option("--dir", flags->order.folder, "Folder that troupe certs init made")->required();
  c->add_option("--host", flags->order.hosts,
                "A further host name or IP address in the certificate; may be repeated")
      ->take_all();
  c->add_option("--days", flags->order.days, "How long the certificates last; 0 expires at once")
      ->capture_default_str();
  c->add_flag("--replace", flags->replace, "Replace the certificates and keys the nodes have");
  c->footer(
      "Examples:\n  troupe certs issue n1 n2 n3 --dir certs\n  troupe certs issue n1 --dir certs "
      "--host 10.0.0.1 --replace");
  c->callback([flags, &chosen] { chosen = [flags] { return issue(*flags); }; });
}

}  // namespace

void add_certs(CLI::App& app, Command& chosen) {
  CLI::App* certs = app.add_subcommand(
      "certs", "Make the CA and the node certificates of the link between hosts");
  certs->require_subcommand(1);
  certs->footer(
      "Example:\n  troupe certs init --dir certs && troupe certs issue n1 n2 --dir certs");
  add_init(*certs, chosen);
  add_issue(*certs, chosen);
}

}  // namespace troupe
