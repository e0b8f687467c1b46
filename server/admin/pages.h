// The dashboard: a page, its scripts, its style and its icon, compiled in from page/. Thread
// safety: constants.

#ifndef LARDER_ADMIN_PAGES_H_
#define LARDER_ADMIN_PAGES_H_

#include <string_view>

namespace larder {

extern const std::string_view kDashboardHtml;
extern const std::string_view kDashboardJs;
extern const std::string_view kChartsJs;
extern const std::string_view kDashboardCss;
extern const std::string_view kIconSvg;

}  // namespace larder

#endif  // LARDER_ADMIN_PAGES_H_
