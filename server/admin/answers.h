// What the admin port answers as JSON.
// Thread safety: functions without state, which call those of the view.

#ifndef LARDER_ADMIN_ANSWERS_H_
#define LARDER_ADMIN_ANSWERS_H_

#include <string>

#include "absl/time/time.h"
#include "admin/history.h"
#include "admin/http_request.h"
#include "admin/view.h"

namespace larder {

// /stats.json: what the RPC Stats answers.
HttpReply StatsReply(const AdminView& view);

// /config.json: the settings in effect.
HttpReply ConfigReply(const AdminView& view);

// /status.json: whether it is all right, as far as Stats does not tell.
HttpReply StatusReply(const AdminView& view, bool ready, const std::string& why);

// /history.json: what charts begin with. `now`: of the clock that the samples have their times
// from.
HttpReply HistoryReply(const History& history, absl::Time now);

// POST /reload: `body` is nothing, or the request of the RPC ReloadConfig as JSON. Answers what
// that RPC does; 400: the body is none; 409: the configuration is wrong, and stays as it was.
// REQUIRES: the view can reload.
HttpReply ReloadReply(const AdminView& view, const std::string& body);

}  // namespace larder

#endif  // LARDER_ADMIN_ANSWERS_H_
