//! The contract's types, one generated module per interface, so that an adapter exports any subset and all share one
//! set of types. Nothing here is written by hand; the traits to implement are in `capability.rs`.
#![allow(missing_docs, unsafe_code, clippy::all, clippy::restriction)]

/// The shared types and the host's two imports.
pub mod base {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-base; world sdk-base { import portolan:channel/types@0.1.0; include portolan:channel/base@0.1.0; }",
        world: "portolan:sdk-base/sdk-base",
        pub_export_macro: true,
        export_macro_name: "export_adapter",
        default_bindings_module: "portolan_adapter::bindings::base",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "base",
        generate_all,
    });
}

/// The interface `sessions`.
pub mod sessions {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-sessions; world sdk-sessions { export portolan:channel/sessions@0.1.0; }",
        world: "portolan:sdk-sessions/sdk-sessions",
        pub_export_macro: true,
        export_macro_name: "export_sessions",
        default_bindings_module: "portolan_adapter::bindings::sessions",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "sessions",
        with: {
            "portolan:channel/types@0.1.0": crate::bindings::base::portolan::channel::types,
        },
    });
}

/// The interface `payments`.
pub mod payments {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-payments; world sdk-payments { export portolan:channel/payments@0.1.0; }",
        world: "portolan:sdk-payments/sdk-payments",
        pub_export_macro: true,
        export_macro_name: "export_payments",
        default_bindings_module: "portolan_adapter::bindings::payments",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "payments",
        with: {
            "portolan:channel/types@0.1.0": crate::bindings::base::portolan::channel::types,
        },
    });
}

/// The interface `actions`.
pub mod actions {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-actions; world sdk-actions { export portolan:channel/actions@0.1.0; }",
        world: "portolan:sdk-actions/sdk-actions",
        pub_export_macro: true,
        export_macro_name: "export_actions",
        default_bindings_module: "portolan_adapter::bindings::actions",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "actions",
        with: {
            "portolan:channel/types@0.1.0": crate::bindings::base::portolan::channel::types,
        },
    });
}

/// The interface `captures`.
pub mod captures {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-captures; world sdk-captures { export portolan:channel/captures@0.1.0; }",
        world: "portolan:sdk-captures/sdk-captures",
        pub_export_macro: true,
        export_macro_name: "export_captures",
        default_bindings_module: "portolan_adapter::bindings::captures",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "captures",
        with: {
            "portolan:channel/types@0.1.0": crate::bindings::base::portolan::channel::types,
        },
    });
}

/// The interface `refunds`.
pub mod refunds {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-refunds; world sdk-refunds { export portolan:channel/refunds@0.1.0; }",
        world: "portolan:sdk-refunds/sdk-refunds",
        pub_export_macro: true,
        export_macro_name: "export_refunds",
        default_bindings_module: "portolan_adapter::bindings::refunds",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "refunds",
        with: {
            "portolan:channel/types@0.1.0": crate::bindings::base::portolan::channel::types,
        },
    });
}

/// The interface `reversals`.
pub mod reversals {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-reversals; world sdk-reversals { export portolan:channel/reversals@0.1.0; }",
        world: "portolan:sdk-reversals/sdk-reversals",
        pub_export_macro: true,
        export_macro_name: "export_reversals",
        default_bindings_module: "portolan_adapter::bindings::reversals",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "reversals",
        with: {
            "portolan:channel/types@0.1.0": crate::bindings::base::portolan::channel::types,
        },
    });
}

/// The interface `payouts`.
pub mod payouts {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-payouts; world sdk-payouts { export portolan:channel/payouts@0.1.0; }",
        world: "portolan:sdk-payouts/sdk-payouts",
        pub_export_macro: true,
        export_macro_name: "export_payouts",
        default_bindings_module: "portolan_adapter::bindings::payouts",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "payouts",
        with: {
            "portolan:channel/types@0.1.0": crate::bindings::base::portolan::channel::types,
        },
    });
}

/// The interface `exchange`.
pub mod exchange {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-exchange; world sdk-exchange { export portolan:channel/exchange@0.1.0; }",
        world: "portolan:sdk-exchange/sdk-exchange",
        pub_export_macro: true,
        export_macro_name: "export_exchange",
        default_bindings_module: "portolan_adapter::bindings::exchange",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "exchange",
        with: {
            "portolan:channel/types@0.1.0": crate::bindings::base::portolan::channel::types,
        },
    });
}

/// The interface `notifications`.
pub mod notifications {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-notifications; world sdk-notifications { export portolan:channel/notifications@0.1.0; }",
        world: "portolan:sdk-notifications/sdk-notifications",
        pub_export_macro: true,
        export_macro_name: "export_notifications",
        default_bindings_module: "portolan_adapter::bindings::notifications",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "notifications",
        with: {
            "portolan:channel/types@0.1.0": crate::bindings::base::portolan::channel::types,
        },
    });
}

/// The interface `feeds`.
pub mod feeds {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-feeds; world sdk-feeds { export portolan:channel/feeds@0.1.0; }",
        world: "portolan:sdk-feeds/sdk-feeds",
        pub_export_macro: true,
        export_macro_name: "export_feeds",
        default_bindings_module: "portolan_adapter::bindings::feeds",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "feeds",
        with: {
            "portolan:channel/types@0.1.0": crate::bindings::base::portolan::channel::types,
        },
    });
}

/// The interface `settlements`.
pub mod settlements {
    wit_bindgen::generate!({
        path: "../../wit/0.1.0",
        inline: "package portolan:sdk-settlements; world sdk-settlements { export portolan:channel/settlements@0.1.0; }",
        world: "portolan:sdk-settlements/sdk-settlements",
        pub_export_macro: true,
        export_macro_name: "export_settlements",
        default_bindings_module: "portolan_adapter::bindings::settlements",
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        type_section_suffix: "settlements",
        with: {
            "portolan:channel/types@0.1.0": crate::bindings::base::portolan::channel::types,
        },
    });
}
