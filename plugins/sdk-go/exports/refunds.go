// Package export_portolan_channel_refunds is what the router calls, in terms of what the adapter's package offers. `portolan plugin build` puts it here.
package export_portolan_channel_refunds

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/adapter"
	"wit_component/portolan"
	types "wit_component/portolan_channel_types"
)

// Refund gives money back.
func Refund(context types.Context, of types.Target, amount types.Money, reason wit.Option[string], answers []types.Answer) wit.Result[types.FollowUpStep, types.Fault] {
	return portolan.Drive(context, answers, types.MakeFollowUpStepSend, types.MakeFollowUpStepDone, func(ctx *portolan.Ctx) (types.FollowUpOutcome, error) {
		return adapter.Refund(ctx, of, amount, portolan.Pointer(reason))
	})
}

// Status asks what became of it.
func Status(context types.Context, of types.Target, answers []types.Answer) wit.Result[types.FollowUpStep, types.Fault] {
	return portolan.Drive(context, answers, types.MakeFollowUpStepSend, types.MakeFollowUpStepDone, func(ctx *portolan.Ctx) (types.FollowUpOutcome, error) {
		return adapter.RefundStatus(ctx, of)
	})
}
